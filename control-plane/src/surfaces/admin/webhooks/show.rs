//! `GET /admin/webhooks/{webhook_id}`

use axum::Json;
use axum::extract::State;

use super::{WebhookShown, wire};
use crate::App;
use crate::domain::webhook::WebhookId;
use crate::operations::webhooks;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows a webhook, without its secret.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    get,
    path = "/admin/webhooks/{webhook_id}",
    operation_id = "getWebhook",
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85")),
    responses(
        (status = 200, description = "The webhook.", body = WebhookShown),
    ),
)]
pub async fn show(State(app): State<App>, Id(id): Id<WebhookId>) -> Result<Json<WebhookShown>, Problem> {
    let webhook = webhooks::find(&app.registry, id).await?;
    Ok(Json(wire(&webhook, app.registry.clock.now())))
}
