//! `/admin/admin-keys`: operators' own keys, for owners alone.

pub mod create;
pub mod list;
pub mod revoke;

use keyward_contract::{KeyId, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::admin::AdminKey;

/// An operator's key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "admin_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d80", "name": "on call", "role": "operator",
    "status": "active", "created_at": "2026-01-19T10:30:00Z", "last_used_at": null,
}))]
pub struct AdminKeyShown {
    #[schema(value_type = String, format = "uuid")]
    admin_key_id: KeyId,
    name: String,
    #[schema(pattern = "^(owner|operator|viewer)$")]
    role: &'static str,
    #[schema(pattern = "^(active|revoked)$")]
    status: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
}

fn wire(key: &AdminKey) -> AdminKeyShown {
    AdminKeyShown {
        admin_key_id: key.id,
        name: key.name.to_string(),
        role: key.role.as_str(),
        status: if key.is_live() { "active" } else { "revoked" },
        created_at: key.created_at.to_rfc3339_seconds(),
        last_used_at: key.last_used_at.map(UnixMillis::to_rfc3339_seconds),
    }
}
