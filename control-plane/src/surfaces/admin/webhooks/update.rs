//! `PUT` and `PATCH /admin/webhooks/{webhook_id}`

use axum::extract::State;
use axum::response::Response;

use super::{description, events, url, wire};
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::webhook::WebhookId;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks::{self, Edit, Switch};
use crate::surfaces::body::Json;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Changes what is given. `description: null` clears it.
///
/// # Errors
/// When it isn't there or a field breaks a rule.
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
