//! `GET /admin/webhooks/{webhook_id}/deliveries`

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_contract::UnixMillis;
use serde::Serialize;
use utoipa::ToSchema;

use super::{DeliveryShown, wire_delivery};
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::webhook::{DeliveryId, WebhookId};
use crate::operations::webhooks;
use crate::store::webhooks::deliveries::{self, Delivery, Filter};
use crate::surfaces::page;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    deliveries: Vec<DeliveryShown>,
    /// What `cursor` must be for the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Which deliveries are wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only those that have come so far.
    #[param(format = "delivery-state", example = "failed")]
    pub state: Option<String>,
    /// The most that are shown.
    #[param(minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: Option<i64>,
    /// The `next_cursor` of the page before.
    #[param(format = "cursor")]
    pub cursor: Option<String>,
}

/// Lists what was and is to be told, newest first, with every attempt.
///
/// # Errors
/// When the webhook isn't there, or the state, the limit or the cursor is none.
#[utoipa::path(
    get,
    path = "/admin/webhooks/{webhook_id}/deliveries",
    operation_id = "listDeliveries",
    tag = "webhooks",
    params(
        ("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85"),
        ListParams,
    ),
    responses(
        (status = 200, description = "A page, newest first.", body = DeliveryPage),
    ),
)]
pub async fn list(
    State(app): State<App>,
    Id(id): Id<WebhookId>,
    params: Params,
) -> Result<Json<DeliveryPage>, Problem> {
    let limit = params.whole_number("limit", 1..=1_000)?.unwrap_or(100);
    let state = params
        .text("state")?
        .map(|name| {
            deliveries::State::from_name(name)
                .ok_or_else(|| InvalidField::new("state", "must be pending, delivered or failed"))
        })
        .transpose()?;
    let before = params.text("cursor")?.map(read_cursor).transpose()?;
    let filter = Filter { state, before };
    let mut found = webhooks::list_deliveries(&app.registry, id, filter, limit + 1).await?;
    let more = page::cut(&mut found, limit);
    let next_cursor = found.last().filter(|_| more).map(cursor);
    Ok(Json(DeliveryPage {
        deliveries: found.iter().map(wire_delivery).collect(),
        next_cursor,
    }))
}

fn cursor(last: &Delivery) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", last.created_at.0, last.id))
}

fn read_cursor(text: &str) -> Result<(UnixMillis, DeliveryId), InvalidField> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (at, id) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
        Some((UnixMillis(at.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| InvalidField::new("cursor", "is not one that this list gave out"))
}
