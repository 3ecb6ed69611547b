//! `GET /admin/webhooks/{webhook_id}/deliveries/{delivery_id}`

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::wire_delivery;
use crate::App;
use crate::domain::webhook::{DeliveryId, WebhookId};
use crate::operations::webhooks;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;

/// Shows a delivery with what is sent, which never holds a secret.
///
/// # Errors
/// When it isn't there.
pub async fn show(
    State(app): State<App>,
    Ids(webhook, id): Ids<WebhookId, DeliveryId>,
) -> Result<Json<Value>, Problem> {
    let (delivery, sent) = webhooks::find_delivery(&app.registry, webhook, id).await?;
    let mut body = wire_delivery(&delivery);
    if let Some(body) = body.as_object_mut() {
        let payload = serde_json::from_str(&sent).unwrap_or_default();
        body.insert("payload".into(), payload);
    }
    Ok(Json(body))
}
