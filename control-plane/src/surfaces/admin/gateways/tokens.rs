//! `/admin/gateways/{gateway_id}/tokens`: what one gateway comes in with.

pub mod create;
pub mod list;
pub mod revoke;

use keyward_contract::{KeyId, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::gateway::GatewayToken;

/// A gateway's token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "token_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86", "gateway_id": "edge-1", "name": "autumn", "mask": "gw_4f…2C3",
    "created_at": "2026-01-19T10:30:00Z", "expires_at": null, "last_used_at": null,
}))]
pub struct GatewayTokenShown {
    #[schema(value_type = String, format = "uuid")]
    token_id: KeyId,
    gateway_id: String,
    #[schema(required = true)]
    name: Option<String>,
    mask: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
    /// When a stream was last opened with it, to the minute.
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
}

fn wire(token: &GatewayToken) -> GatewayTokenShown {
    GatewayTokenShown {
        token_id: token.id,
        gateway_id: token.gateway.to_string(),
        name: token.name.as_ref().map(ToString::to_string),
        mask: token.mask.as_str().to_owned(),
        created_at: token.created_at.to_rfc3339_seconds(),
        expires_at: token.expires_at.map(UnixMillis::to_rfc3339_seconds),
        last_used_at: token.last_used_at.map(UnixMillis::to_rfc3339_seconds),
    }
}
