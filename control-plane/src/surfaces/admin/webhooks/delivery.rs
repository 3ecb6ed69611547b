//! `GET /admin/webhooks/{webhook_id}/deliveries/{delivery_id}`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{DeliveryShown, wire_delivery};
use crate::App;
use crate::domain::webhook::{DeliveryId, WebhookId};
use crate::operations::webhooks;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;

/// A delivery with what is sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryWithPayload {
    #[serde(flatten)]
    delivery: DeliveryShown,
    /// What is sent.
    #[schema(value_type = Object)]
    payload: Value,
}

/// Shows a delivery with what is sent, which never holds a secret.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    get,
    path = "/admin/webhooks/{webhook_id}/deliveries/{delivery_id}",
    operation_id = "getDelivery",
    tag = "webhooks",
    params(
        ("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85"),
        ("delivery_id" = String, Path, format = "uuid", description = "The delivery's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86"),
    ),
    responses(
        (status = 200, description = "The delivery.", body = DeliveryWithPayload),
    ),
)]
pub async fn show(
    State(app): State<App>,
    Ids(webhook, id): Ids<WebhookId, DeliveryId>,
) -> Result<Json<DeliveryWithPayload>, Problem> {
    let (delivery, sent) = webhooks::find_delivery(&app.registry, webhook, id).await?;
    Ok(Json(DeliveryWithPayload {
        delivery: wire_delivery(&delivery),
        payload: serde_json::from_str(&sent).unwrap_or_default(),
    }))
}
