//! `POST /admin/webhooks`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::{description, events, url, wire_with_secret};
use crate::App;
use crate::domain::webhook::Subscription;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks::{self, NewWebhook};
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Makes a webhook. Its signing secret is shown in this answer and never again. Without `events` it is told all.
///
/// # Errors
/// When the address is missing, a field breaks a rule, or there are too many webhooks.
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let wanted = NewWebhook {
        endpoint: url(&fields)?.required("url")?,
        events: events(&fields)?.or_null().unwrap_or(Subscription::All),
        description: description(&fields)?.or_null(),
    };
    let made = webhooks::create(&app.registry, &caller.actor, wanted).await?;
    let (webhook, secret) = &made.value;
    let body = wire_with_secret(webhook, secret, webhook.created_at);
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}
