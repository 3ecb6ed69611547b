//! `POST /admin/webhooks/{webhook_id}/rotate-secret`

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;

use super::wire_with_secret;
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::webhook::WebhookId;
use crate::operations::identify::AdminCaller;
use crate::operations::webhooks;
use crate::surfaces::body::MaybeJson;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

const LONGEST_GRACE: u64 = 7 * 86_400;
const USUAL_GRACE: u64 = 86_400;

/// Gives a webhook a new secret, which is shown in this answer and never again. The old one signs as well for
/// `grace_seconds`, a day when nothing is said.
///
/// # Errors
/// When it isn't there or the grace is out of range.
pub async fn rotate_secret(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<WebhookId>,
    MaybeJson(fields): MaybeJson,
) -> Result<Response, Problem> {
    let grace = fields
        .whole_number("grace_seconds")?
        .or_null()
        .unwrap_or(USUAL_GRACE);
    if grace > LONGEST_GRACE {
        let reason = format!("must be a whole number from 0 to {LONGEST_GRACE}");
        return Err(InvalidField::new("grace_seconds", reason).into());
    }
    let grace = Duration::from_secs(grace);
    let rotated = webhooks::rotate_secret(&app.registry, &caller.actor, id, grace).await?;
    let (webhook, secret) = &rotated.value;
    let body = wire_with_secret(webhook, secret, webhook.updated_at);
    Ok(settled::with(&rotated.settled, axum::Json(body)))
}
