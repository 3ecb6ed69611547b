//! `POST /admin/webhooks/{webhook_id}/deliveries/{delivery_id}/replay`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{DeliveryShown, wire_delivery};
use crate::App;
use crate::domain::webhook::{DeliveryId, WebhookId};
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Has a delivery tried again for a day, whatever came of it. The message keeps its id.
///
/// # Errors
/// When it isn't there or the webhook is disabled.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    operation_id = "replayDelivery",
    tag = "webhooks",
    params(
        ("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85"),
        ("delivery_id" = String, Path, format = "uuid", description = "The delivery's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86"),
    ),
    responses(
        (status = 202, description = "It is tried again.", body = DeliveryShown),
        (status = 409, description = "The webhook is disabled."),
    ),
)]
pub async fn replay(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(webhook, id): Ids<WebhookId, DeliveryId>,
) -> Result<Response, Problem> {
    let replayed = webhooks::replay(&app.registry, &caller.actor, webhook, id).await?;
    let body = axum::Json(wire_delivery(&replayed.value));
    Ok(settled::with(&replayed.settled, (StatusCode::ACCEPTED, body)))
}
