//! `GET /admin/webhooks`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{WebhookShown, wire};
use crate::App;
use crate::operations::webhooks;
use crate::surfaces::problem::Problem;

/// Every webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    webhooks: Vec<WebhookShown>,
}

/// Lists every webhook, newest first. There are never many.
///
/// # Errors
/// When the store is away.
#[utoipa::path(
    get,
    path = "/admin/webhooks",
    operation_id = "listWebhooks",
    tag = "webhooks",
    responses(
        (status = 200, description = "Every webhook, newest first.", body = WebhookList),
    ),
)]
pub async fn list(State(app): State<App>) -> Result<Json<WebhookList>, Problem> {
    let now = app.registry.clock.now();
    let webhooks = webhooks::list(&app.registry).await?;
    let webhooks = webhooks.iter().map(|webhook| wire(webhook, now)).collect();
    Ok(Json(WebhookList { webhooks }))
}
