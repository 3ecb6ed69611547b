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
use serde_json::{Value, json};

use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::domain::webhook::{Endpoint, MAX_DESCRIPTION, Secret, Subscription, Webhook};
use crate::store::webhooks::deliveries::{Attempt, Delivery, State};
use crate::surfaces::fields::{Fields, Given};

/// How the admin API writes a webhook.
fn wire(webhook: &Webhook, now: UnixMillis) -> Value {
    let old_until = webhook.old_secret.as_ref().map(|(_, until)| *until);
    json!({
        "webhook_id": webhook.id,
        "url": webhook.endpoint.url().as_str(),
        "events": webhook.events.names(),
        "description": webhook.description,
        "status": webhook.status.as_str(),
        "disabled_reason": webhook.status.reason(),
        "previous_secret_expires_at":
            old_until.filter(|until| now < *until).map(UnixMillis::to_rfc3339_seconds),
        "created_at": webhook.created_at.to_rfc3339_seconds(),
        "updated_at": webhook.updated_at.to_rfc3339_seconds(),
    })
}

/// The one answer that shows the secret.
fn wire_with_secret(webhook: &Webhook, secret: &Secret, now: UnixMillis) -> Value {
    let mut body = wire(webhook, now);
    if let Some(body) = body.as_object_mut() {
        body.insert("secret".into(), secret.expose().into());
    }
    body
}

fn wire_delivery(delivery: &Delivery) -> Value {
    let pending = delivery.state == State::Pending;
    json!({
        "delivery_id": delivery.id,
        "message_id": delivery.message_id,
        "event": delivery.kind,
        "state": delivery.state.as_str(),
        "created_at": delivery.created_at.to_rfc3339_millis(),
        "next_attempt_at": pending.then(|| delivery.due_at.to_rfc3339_millis()),
        "attempts": delivery.attempts.iter().map(wire_attempt).collect::<Vec<_>>(),
    })
}

fn wire_attempt(attempt: &Attempt) -> Value {
    json!({
        "at": attempt.at.to_rfc3339_millis(),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error,
    })
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
