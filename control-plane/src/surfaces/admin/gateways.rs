//! `GET /admin/gateways`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::store::changes;
use crate::surfaces::problem::Problem;

pub mod confirm_snapshot;

/// The gateways that were seen.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "revision": 42,
    "gateways": [{
        "gateway_id": "edge-1", "address": "203.0.113.7:8080", "version": "0.1.0", "revision": 42,
        "lag_seconds": 0.0, "last_heartbeat": "2026-01-19T10:30:00.000Z", "state": "connected",
        "held_snapshot": null,
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
    /// Where its proxy listener is.
    address: String,
    version: String,
    /// The revision in force there.
    revision: u64,
    /// For how long it has not been at the newest revision.
    lag_seconds: f64,
    #[schema(format = DateTime)]
    last_heartbeat: String,
    #[schema(pattern = "^(connected|holding|syncing|disconnected|stopped)$")]
    state: &'static str,
    /// A snapshot that waits for confirmation.
    #[schema(required = true)]
    held_snapshot: Option<HeldSnapshotShown>,
}

/// A snapshot that would drop more than half of a gateway's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldSnapshotShown {
    revision: u64,
    /// Keys in force at the gateway.
    held_keys: u64,
    /// Those of them that the snapshot has not.
    dropped_keys: u64,
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
    app.registry.gateways.look().await;
    let gateways = app
        .registry
        .gateways
        .status()
        .into_iter()
        .map(|gateway| GatewayShown {
            gateway_id: gateway.gateway_id,
            address: gateway.address,
            version: gateway.version,
            revision: gateway.revision,
            lag_seconds: gateway.lag_seconds,
            last_heartbeat: gateway.last_heartbeat.to_rfc3339_millis(),
            state: gateway.state,
            held_snapshot: gateway.held.map(|held| HeldSnapshotShown {
                revision: held.revision,
                held_keys: held.held,
                dropped_keys: held.dropped,
            }),
        })
        .collect();
    Ok(Json(GatewayList { revision, gateways }))
}
