//! `GET /admin/gateways/{gateway_id}/tokens`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{GatewayTokenShown, wire};
use crate::App;
use crate::domain::gateway::GatewayId;
use crate::operations::gateways;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// A gateway's tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayTokenList {
    tokens: Vec<GatewayTokenShown>,
}

/// Lists the tokens of a gateway that were not deleted, newest first; expired ones are among them.
///
/// # Errors
/// When the store is away.
#[utoipa::path(
    get,
    path = "/admin/gateways/{gateway_id}/tokens",
    operation_id = "listGatewayTokens",
    tag = "operations",
    params(("gateway_id" = String, Path, format = "gateway-id", description = "The gateway's id.", example = "edge-1")),
    responses(
        (status = 200, description = "Its tokens; none of a gateway that nobody heard of.", body = GatewayTokenList),
    ),
)]
pub async fn list(
    State(app): State<App>,
    Id(gateway): Id<GatewayId>,
) -> Result<Json<GatewayTokenList>, Problem> {
    let tokens = gateways::tokens(&app.registry, &gateway).await?;
    Ok(Json(GatewayTokenList {
        tokens: tokens.iter().map(wire).collect(),
    }))
}
