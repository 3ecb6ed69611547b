//! `/admin/webhooks`: who is told of what, and what came of telling.

pub mod create;
pub mod delete;
pub mod deliveries;
pub mod delivery;
pub mod list;
pub mod replay;
pub mod rotate_secret;
pub mod show;
pub mod test;
pub mod update;

use keyward_contract::UnixMillis;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::domain::webhook::{
    DeliveryId, Endpoint, MAX_DESCRIPTION, Secret, Subscription, Webhook, WebhookId,
};
use crate::store::webhooks::deliveries::{Attempt, Delivery, State};
use crate::surfaces::fields::{Fields, Given};

/// How the admin API writes a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook, example = json!({
    "webhook_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85", "url": "https://hooks.acme.example/keyward",
    "events": ["key.revoked", "quota.100"], "description": "to the pager", "status": "active",
    "disabled_reason": null, "previous_secret_expires_at": null, "created_at": "2026-01-19T10:30:00Z",
    "updated_at": "2026-01-19T10:30:00Z",
}))]
pub struct WebhookShown {
    #[schema(value_type = String, format = "uuid")]
    webhook_id: WebhookId,
    url: String,
    /// The events that it is told; `*` for all.
    events: Vec<&'static str>,
    #[schema(required = true)]
    description: Option<String>,
    #[schema(pattern = "^(active|disabled)$")]
    status: &'static str,
    /// `operator`, or `gone` when its endpoint answered 410.
    #[schema(required = true, pattern = "^(operator|gone)$")]
    disabled_reason: Option<&'static str>,
    /// Until when the secret before signs as well.
    #[schema(required = true, format = DateTime)]
    previous_secret_expires_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A webhook with its secret, in clear this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "webhook_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85", "url": "https://hooks.acme.example/keyward",
    "events": ["key.revoked", "quota.100"], "description": "to the pager", "status": "active",
    "disabled_reason": null, "previous_secret_expires_at": null, "created_at": "2026-01-19T10:30:00Z",
    "updated_at": "2026-01-19T10:30:00Z",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
}))]
pub struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: WebhookShown,
    #[schema(pattern = "^whsec_")]
    secret: String,
}

/// One message's way to one webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery, example = json!({
    "delivery_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86", "message_id": "msg_0190b5f2e5f07c9a8d1e2f3a4b5c6d87",
    "event": "key.revoked", "state": "delivered", "created_at": "2026-01-19T10:30:00.000Z",
    "next_attempt_at": null,
    "attempts": [{"at": "2026-01-19T10:30:00.100Z", "duration_ms": 40, "status": 200, "error": null}],
}))]
pub struct DeliveryShown {
    #[schema(value_type = String, format = "uuid")]
    delivery_id: DeliveryId,
    /// What the receiver got as `webhook-id`.
    message_id: String,
    event: String,
    #[schema(pattern = "^(pending|delivered|failed)$")]
    state: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it is tried again, while it is pending.
    #[schema(required = true, format = DateTime)]
    next_attempt_at: Option<String>,
    attempts: Vec<AttemptShown>,
}

/// One attempt that came to an end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptShown {
    #[schema(format = DateTime)]
    at: String,
    #[schema(minimum = 0)]
    duration_ms: i64,
    /// What the receiver answered.
    #[schema(required = true)]
    status: Option<i64>,
    /// Why there was no answer.
    #[schema(required = true)]
    error: Option<String>,
}

fn wire(webhook: &Webhook, now: UnixMillis) -> WebhookShown {
    let old_until = webhook.old_secret.as_ref().map(|(_, until)| *until);
    WebhookShown {
        webhook_id: webhook.id,
        url: webhook.endpoint.url().to_string(),
        events: webhook.events.names(),
        description: webhook.description.clone(),
        status: webhook.status.as_str(),
        disabled_reason: webhook.status.reason(),
        previous_secret_expires_at: old_until
            .filter(|until| now < *until)
            .map(UnixMillis::to_rfc3339_seconds),
        created_at: webhook.created_at.to_rfc3339_seconds(),
        updated_at: webhook.updated_at.to_rfc3339_seconds(),
    }
}

/// The one answer that shows the secret.
fn wire_with_secret(webhook: &Webhook, secret: &Secret, now: UnixMillis) -> WebhookWithSecret {
    WebhookWithSecret {
        webhook: wire(webhook, now),
        secret: secret.expose(),
    }
}

fn wire_delivery(delivery: &Delivery) -> DeliveryShown {
    let pending = delivery.state == State::Pending;
    DeliveryShown {
        delivery_id: delivery.id,
        message_id: delivery.message_id.clone(),
        event: delivery.kind.clone(),
        state: delivery.state.as_str(),
        created_at: delivery.created_at.to_rfc3339_millis(),
        next_attempt_at: pending.then(|| delivery.due_at.to_rfc3339_millis()),
        attempts: delivery.attempts.iter().map(wire_attempt).collect(),
    }
}

fn wire_attempt(attempt: &Attempt) -> AttemptShown {
    AttemptShown {
        at: attempt.at.to_rfc3339_millis(),
        duration_ms: attempt.duration_ms,
        status: attempt.status,
        error: attempt.error.clone(),
    }
}

fn url(fields: &Fields) -> Result<Given<Endpoint>, InvalidField> {
    fields.text("url")?.read(|text| Endpoint::parse("url", text))
}

fn events(fields: &Fields) -> Result<Given<Subscription>, InvalidField> {
    fields
        .texts("events")?
        .read(|names| Subscription::parse("events", &names))
}

fn description(fields: &Fields) -> Result<Given<String>, InvalidField> {
    fields.text("description")?.read(|text| {
        let text = Name::parse("description", text, MAX_DESCRIPTION)?;
        Ok(text.as_str().to_owned())
    })
}
