//! `GET /admin/tiers`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::wire;
use crate::App;

/// The catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierList {
    tiers: Vec<wire::Tier>,
}

/// Lists the catalogue.
#[utoipa::path(
    get,
    path = "/admin/tiers",
    operation_id = "listTiers",
    tag = "catalogue",
    responses(
        (status = 200, description = "Every tier.", body = TierList),
    ),
)]
pub async fn list(State(app): State<App>) -> Json<TierList> {
    let tiers = app.registry.catalogue.tiers().iter().map(wire::tier).collect();
    Json(TierList { tiers })
}
