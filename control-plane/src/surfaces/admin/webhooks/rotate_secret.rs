//! `POST /admin/webhooks/{webhook_id}/rotate-secret`

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::{WebhookWithSecret, wire_with_secret};
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

/// How a secret is to be replaced. The body may be left out.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"grace_seconds": 3_600}))]
pub struct SecretRotation {
    /// How long the old secret signs beside the new one; a day when left out.
    #[schema(minimum = 0, maximum = 604_800)]
    pub grace_seconds: Option<u64>,
}

/// Gives a webhook a new secret, which is shown in this answer and never again. The old one signs as well for
/// `grace_seconds`, a day when nothing is said.
///
/// # Errors
/// When it isn't there or the grace is out of range.
#[utoipa::path(
    post,
    path = "/admin/webhooks/{webhook_id}/rotate-secret",
    operation_id = "rotateWebhookSecret",
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "The webhook's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85")),
    request_body = Option<SecretRotation>,
    responses(
        (status = 200, description = "With its new secret. Save it: it is not shown again.", body = WebhookWithSecret),
    ),
)]
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
