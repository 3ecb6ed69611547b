//! `DELETE /admin/webhooks/{webhook_id}`

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::webhook::WebhookId;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// A webhook that is gone now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "Webhook deleted successfully", "webhook_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85",
    "status": "deleted",
}))]
pub struct WebhookDeleted {
    message: &'static str,
    #[schema(value_type = String, format = "uuid")]
    webhook_id: WebhookId,
    #[schema(pattern = "^deleted$")]
    status: &'static str,
}

/// Removes a webhook, its secret and its deliveries for good. A repeat finds nothing.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    delete,
    path = "/admin/webhooks/{webhook_id}",
    operation_id = "deleteWebhook",
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85")),
    responses(
        (status = 200, description = "Gone; a repeat finds nothing.", body = WebhookDeleted),
    ),
)]
pub async fn delete(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<WebhookId>,
) -> Result<Response, Problem> {
    let deleted = webhooks::delete(&app.registry, &caller.actor, id).await?;
    let body = WebhookDeleted {
        message: "Webhook deleted successfully",
        webhook_id: id,
        status: "deleted",
    };
    Ok(settled::with(&deleted.settled, axum::Json(body)))
}
