//! `GET /admin/gateways`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::App;
use crate::store::changes;
use crate::surfaces::problem::Problem;

/// Lists every gateway, and how far each is behind the newest revision.
///
/// # Errors
/// When the store is away.
pub async fn list(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let revision = changes::head(&app.registry.store)
        .await
        .map_err(crate::operations::Error::from)?;
    app.registry.gateways.look().await;
    let gateways: Vec<_> = app
        .registry
        .gateways
        .status()
        .into_iter()
        .map(|gateway| {
            json!({
                "gateway_id": gateway.gateway_id,
                "address": gateway.address,
                "version": gateway.version,
                "revision": gateway.revision,
                "lag_seconds": gateway.lag_seconds,
                "last_heartbeat": gateway.last_heartbeat.to_rfc3339_millis(),
                "state": gateway.state,
            })
        })
        .collect();
    Ok(Json(json!({"revision": revision, "gateways": gateways})))
}
