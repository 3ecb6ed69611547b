//! `DELETE /admin/gateways/{gateway_id}/tokens/{token_id}`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::KeyId;

use crate::App;
use crate::domain::gateway::GatewayId;
use crate::operations::gateways;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Deletes a gateway's token. Streams that were opened with it end at once. A repeat answers the same.
///
/// # Errors
/// When the gateway never had it.
#[utoipa::path(
    delete,
    path = "/admin/gateways/{gateway_id}/tokens/{token_id}",
    operation_id = "deleteGatewayToken",
    tag = "operations",
    params(
        ("gateway_id" = String, Path, format = "gateway-id", description = "The gateway's id.", example = "edge-1"),
        ("token_id" = String, Path, format = "uuid", description = "The token's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86"),
    ),
    responses(
        (status = 204, description = "Gone; a repeat answers the same."),
    ),
)]
pub async fn revoke(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(gateway, token): Ids<GatewayId, KeyId>,
) -> Result<Response, Problem> {
    let revoked = gateways::revoke_token(&app.registry, &caller.actor, &gateway, token).await?;
    Ok(settled::with(&revoked.settled, StatusCode::NO_CONTENT))
}
