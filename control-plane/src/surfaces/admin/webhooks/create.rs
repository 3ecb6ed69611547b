//! `POST /admin/webhooks`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa::ToSchema;

use super::{WebhookWithSecret, description, events, url, wire_with_secret};
use crate::App;
use crate::domain::webhook::Subscription;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks::{self, NewWebhook};
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// A webhook to be made.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "url": "https://hooks.acme.example/keyward", "events": ["key.revoked", "quota.100"],
    "description": "to the pager",
}))]
pub struct WebhookWanted {
    /// Where messages go: `https`; `http` is for this machine alone. No credentials and no fragment in it.
    #[schema(format = "webhook-url", max_length = 2048)]
    pub url: String,
    /// The events that it is told; `["*"]` or nothing for all.
    #[schema(format = "event")]
    pub events: Option<Vec<String>>,
    /// What it is for.
    #[schema(format = "name-255")]
    pub description: Option<String>,
}

/// Makes a webhook. Its signing secret is shown in this answer and never again. Without `events` it is told all.
///
/// # Errors
/// When the address is missing, a field breaks a rule, or there are too many webhooks.
#[utoipa::path(
    post,
    path = "/admin/webhooks",
    operation_id = "createWebhook",
    tag = "webhooks",
    request_body = WebhookWanted,
    responses(
        (status = 201, description = "Made. Save the secret: it is not shown again.", body = WebhookWithSecret),
        (status = 409, description = "There are as many webhooks as there may be."),
    ),
)]
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
