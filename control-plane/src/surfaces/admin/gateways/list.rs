//! `GET /admin/gateways`

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ScopeShown, StatusShown};
use crate::App;
use crate::operations::gateways;
use crate::store::changes;
use crate::surfaces::problem::Problem;

/// The gateways that were seen.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "revision": 42,
    "gateways": [{
        "gateway_id": "edge-1", "address": "203.0.113.7:8080", "version": "0.1.0", "revision": 42,
        "lag_seconds": 0.0, "last_heartbeat": "2026-01-19T10:30:00.000Z", "state": "connected",
        "held_snapshot": null, "blocked": false, "scope": null,
    }],
}))]
pub struct GatewayList {
    /// The newest revision.
    revision: u64,
    gateways: Vec<GatewayShown>,
}

/// A gateway, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayShown {
    gateway_id: String,
    #[serde(flatten)]
    status: StatusShown,
    /// It is not let in.
    blocked: bool,
    /// What it is sent; null: everything.
    #[schema(required = true)]
    scope: Option<ScopeShown>,
}

/// Lists every gateway, and how far each is behind the newest revision.
///
/// # Errors
/// When the store is away.
#[utoipa::path(
    get,
    path = "/admin/gateways",
    operation_id = "listGateways",
    tag = "operations",
    responses(
        (status = 200, description = "Every gateway that was seen.", body = GatewayList),
    ),
)]
pub async fn list(State(app): State<App>) -> Result<Json<GatewayList>, Problem> {
    let revision = changes::head(&app.registry.store)
        .await
        .map_err(crate::operations::Error::from)?;
    let said = gateways::all_settings(&app.registry).await?;
    let said: HashMap<String, _> = said
        .into_iter()
        .map(|(id, settings)| (id.to_string(), settings))
        .collect();
    app.registry.gateways.look().await;
    let seen = app.registry.gateways.status().into_iter();
    let gateways = seen
        .map(|gateway| {
            let settings = said.get(&gateway.gateway_id);
            GatewayShown {
                gateway_id: gateway.gateway_id.clone(),
                blocked: settings.is_some_and(|settings| settings.blocked),
                scope: settings.and_then(ScopeShown::of),
                status: gateway.into(),
            }
        })
        .collect();
    Ok(Json(GatewayList { revision, gateways }))
}
