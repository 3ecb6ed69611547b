//! `DELETE /admin/webhooks/{webhook_id}`

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::App;
use crate::domain::webhook::WebhookId;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Removes a webhook, its secret and its deliveries for good. A repeat finds nothing.
///
/// # Errors
/// When it isn't there.
pub async fn delete(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<WebhookId>,
) -> Result<Response, Problem> {
    let deleted = webhooks::delete(&app.registry, &caller.actor, id).await?;
    let body = json!({
        "message": "Webhook deleted successfully",
        "webhook_id": id,
        "status": "deleted",
    });
    Ok(settled::with(&deleted.settled, axum::Json(body)))
}
