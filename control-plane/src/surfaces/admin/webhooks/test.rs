//! `POST /admin/webhooks/{webhook_id}/test`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{DeliveryShown, wire_delivery};
use crate::App;
use crate::domain::webhook::WebhookId;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Sends a `webhook.test` to this webhook alone. What came of it, its delivery tells.
///
/// # Errors
/// When it isn't there or is disabled.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{webhook_id}/test",
    operation_id = "testWebhook",
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85")),
    responses(
        (status = 202, description = "It is sent.", body = DeliveryShown),
        (status = 409, description = "The webhook is disabled."),
    ),
)]
pub async fn test(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<WebhookId>,
) -> Result<Response, Problem> {
    let sent = webhooks::test(&app.registry, &caller.actor, id).await?;
    let body = axum::Json(wire_delivery(&sent.value));
    Ok(settled::with(&sent.settled, (StatusCode::ACCEPTED, body)))
}
