//! `GET /admin/gateways/{gateway_id}`

use axum::Json;
use axum::extract::State;

use super::GatewayDetail;
use crate::App;
use crate::domain::gateway::GatewayId;
use crate::operations::gateways;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows a gateway that was seen, or of which operators have said something.
///
/// # Errors
/// When nobody ever heard of it.
#[utoipa::path(
    get,
    path = "/admin/gateways/{gateway_id}",
    operation_id = "getGateway",
    tag = "operations",
    params(("gateway_id" = String, Path, format = "gateway-id", description = "The gateway's id.", example = "edge-1")),
    responses(
        (status = 200, description = "The gateway.", body = GatewayDetail),
    ),
)]
pub async fn show(State(app): State<App>, Id(id): Id<GatewayId>) -> Result<Json<GatewayDetail>, Problem> {
    let view = gateways::show(&app.registry, &id).await?;
    Ok(Json(GatewayDetail::new(&id, view)))
}
