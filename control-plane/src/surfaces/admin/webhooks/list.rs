//! `GET /admin/webhooks`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::wire;
use crate::App;
use crate::operations::webhooks;
use crate::surfaces::problem::Problem;

/// Lists every webhook, newest first. There are never many.
///
/// # Errors
/// When the store is away.
pub async fn list(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let now = app.registry.clock.now();
    let webhooks = webhooks::list(&app.registry).await?;
    let webhooks: Vec<_> = webhooks.iter().map(|webhook| wire(webhook, now)).collect();
    Ok(Json(json!({"webhooks": webhooks})))
}
