//! `GET /admin/webhooks/{webhook_id}`

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::wire;
use crate::App;
use crate::domain::webhook::WebhookId;
use crate::operations::webhooks;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows a webhook, without its secret.
///
/// # Errors
/// When it isn't there.
pub async fn show(State(app): State<App>, Id(id): Id<WebhookId>) -> Result<Json<Value>, Problem> {
    let webhook = webhooks::find(&app.registry, id).await?;
    Ok(Json(wire(&webhook, app.registry.clock.now())))
}
