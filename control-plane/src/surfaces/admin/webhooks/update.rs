//! `PUT` and `PATCH /admin/webhooks/{webhook_id}`

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::{WebhookShown, description, events, url, wire};
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::webhook::WebhookId;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks::{self, Edit, Switch};
use crate::surfaces::body::Json;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// What is to be changed of a webhook; what is left out stays.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"events": ["*"], "status": "active", "description": null}))]
pub struct WebhookEdit {
    /// Where messages go: `https`; `http` is for this machine alone. No credentials and no fragment in it.
    #[schema(format = "webhook-url", max_length = 2048, nullable = false)]
    pub url: Option<String>,
    /// The events that it is told; `["*"]` for all.
    #[schema(format = "event", nullable = false)]
    pub events: Option<Vec<String>>,
    /// What it is for; null clears it.
    #[schema(format = "name-255")]
    pub description: Option<String>,
    /// Whether it is told anything.
    #[schema(format = "webhook-status", nullable = false)]
    pub status: Option<String>,
}

/// Changes what is given. `description: null` clears it.
///
/// # Errors
/// When it isn't there or a field breaks a rule.
#[utoipa::path(
    method(put, patch),
    path = "/admin/webhooks/{webhook_id}",
    operation_id = "updateWebhook",
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85")),
    request_body = WebhookEdit,
    responses(
        (status = 200, description = "As it is now.", body = WebhookShown),
    ),
)]
pub async fn update(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<WebhookId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let active = fields.text("status")?.read(|status| match status {
        "active" => Ok(Switch::On),
        "disabled" => Ok(Switch::Off),
        _ => Err(InvalidField::new("status", "must be active or disabled")),
    })?;
    let edit = Edit {
        endpoint: url(&fields)?.not_null("url")?,
        events: events(&fields)?.not_null("events")?,
        description: description(&fields)?.clearable(),
        active: active.not_null("status")?,
    };
    let changed = webhooks::update(&app.registry, &caller.actor, id, edit).await?;
    let body = wire(&changed.value, app.registry.clock.now());
    Ok(settled::with(&changed.settled, axum::Json(body)))
}
