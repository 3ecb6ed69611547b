//! Webhooks, as operators manage them. What they are told is decided in `outbox`, and told by `dispatch`.

use std::time::Duration;

use keyward_contract::UnixMillis;
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::refusal::{Conflict, Missing};
use crate::domain::webhook::{
    DeliveryId, Endpoint, EventKind, MAX_WEBHOOKS, Secret, Subscription, Webhook, WebhookId, WebhookStatus,
};
use crate::store::webhooks as store;
use crate::store::webhooks::deliveries::{self, Delivery, Filter};

pub mod dispatch;
pub mod outbox;
mod send;

/// What an operator says of a new webhook.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Where messages go.
    pub endpoint: Endpoint,
    /// What it is told.
    pub events: Subscription,
    /// The operator's note.
    pub description: Option<String>,
}

/// What an operator changes of a webhook; what is absent stays. An inner `None` clears.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Where messages go.
    pub endpoint: Option<Endpoint>,
    /// What it is told.
    pub events: Option<Subscription>,
    /// The operator's note.
    pub description: Option<Option<String>>,
    /// Whether it is told anything.
    pub active: Option<Switch>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Active.
    On,
    /// Disabled.
    Off,
}

/// Makes a webhook. The secret is in the answer and nowhere else.
///
/// # Errors
/// When there are too many, or the database fails.
pub async fn create(
    registry: &Registry,
    actor: &Actor,
    wanted: NewWebhook,
) -> Result<Changed<(Webhook, Secret)>> {
    let mut change = Change::begin(registry, actor).await?;
    if usize::try_from(store::count(&mut change.tx).await?).unwrap_or(usize::MAX) >= MAX_WEBHOOKS {
        return Err(Conflict::TooManyWebhooks.into());
    }
    let (id, secret) = (WebhookId::random(), Secret::random()?);
    let webhook = Webhook {
        id,
        endpoint: wanted.endpoint,
        events: wanted.events,
        description: wanted.description,
        status: WebhookStatus::Active,
        secret: seal(registry, id, &secret)?,
        old_secret: None,
        created_at: change.now,
        updated_at: change.now,
    };
    store::insert(&mut change.tx, &webhook).await?;
    let entry = entry("webhook.created", &webhook, None, Some(remembered(&webhook)));
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed {
        value: (webhook, secret),
        settled,
    })
}

/// All webhooks, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(registry: &Registry) -> Result<Vec<Webhook>> {
    Ok(store::list(registry.store.readers()).await?)
}

/// Finds a webhook.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn find(registry: &Registry, id: WebhookId) -> Result<Webhook> {
    let found = store::by_id(registry.store.readers(), id).await?;
    Ok(found.ok_or(Missing::Webhook)?)
}

/// Changes what is given of a webhook, and nothing else. One that is switched on again goes on with what was
/// pending; what happened while it was off was not kept for it.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn update(
    registry: &Registry,
    actor: &Actor,
    id: WebhookId,
    edit: Edit,
) -> Result<Changed<Webhook>> {
    let mut change = Change::begin(registry, actor).await?;
    let before = load(&mut change, id).await?;
    let mut webhook = before.clone();
    webhook.endpoint = edit.endpoint.unwrap_or(webhook.endpoint);
    webhook.events = edit.events.unwrap_or(webhook.events);
    webhook.description = edit.description.unwrap_or(webhook.description);
    match edit.active {
        Some(Switch::On) => webhook.status = WebhookStatus::Active,
        // Why it was disabled stays as it is.
        Some(Switch::Off) if webhook.status == WebhookStatus::Active => {
            webhook.status = WebhookStatus::Disabled;
        }
        Some(Switch::Off) | None => {}
    }
    if webhook == before {
        let settled = change.nothing_to_do().await?;
        return Ok(Changed {
            value: webhook,
            settled,
        });
    }
    webhook.updated_at = change.now;
    store::save(&mut change.tx, &webhook).await?;
    let (old, new) = (remembered(&before), remembered(&webhook));
    let entry = entry("webhook.updated", &webhook, Some(old), Some(new));
    let settled = change.commit(entry, &[]).await?;
    registry.store.signals().deliveries_are_due();
    Ok(Changed {
        value: webhook,
        settled,
    })
}

/// Removes a webhook, its secret and its deliveries for good.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn delete(registry: &Registry, actor: &Actor, id: WebhookId) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, actor).await?;
    let webhook = load(&mut change, id).await?;
    store::remove(&mut change.tx, id).await?;
    let entry = entry("webhook.deleted", &webhook, Some(remembered(&webhook)), None);
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed { value: (), settled })
}

/// Gives a webhook a new secret. The old one signs as well until the grace is over.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn rotate_secret(
    registry: &Registry,
    actor: &Actor,
    id: WebhookId,
    grace: Duration,
) -> Result<Changed<(Webhook, Secret)>> {
    let mut change = Change::begin(registry, actor).await?;
    let mut webhook = load(&mut change, id).await?;
    let secret = Secret::random()?;
    let old = std::mem::replace(&mut webhook.secret, seal(registry, id, &secret)?);
    let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    let until = UnixMillis(change.now.0.saturating_add(grace));
    webhook.old_secret = (grace > 0).then_some((old, until));
    webhook.updated_at = change.now;
    store::save(&mut change.tx, &webhook).await?;
    let after = json!({"previous_secret_expires_at": until.to_rfc3339_seconds()});
    let entry = entry("webhook.secret_rotated", &webhook, None, Some(after));
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed {
        value: (webhook, secret),
        settled,
    })
}

/// Sends a message that says no more than that it is a test.
///
/// # Errors
/// When there is none with this id, it is disabled, or the database fails.
pub async fn test(registry: &Registry, actor: &Actor, id: WebhookId) -> Result<Changed<Delivery>> {
    let mut change = Change::begin(registry, actor).await?;
    let webhook = active(&mut change, id).await?;
    let message = outbox::message(EventKind::Test, change.now, &json!({"webhook_id": id}));
    deliveries::insert_message(&mut change.tx, &message).await?;
    let delivery = deliveries::insert(&mut change.tx, id, &message).await?;
    let value = Delivery {
        id: delivery,
        message_id: message.id,
        kind: message.kind.as_str().to_owned(),
        state: deliveries::State::Pending,
        due_at: change.now,
        created_at: change.now,
        attempts: Vec::new(),
    };
    let after = json!({"delivery_id": delivery});
    let entry = entry("webhook.tested", &webhook, None, Some(after));
    let settled = change.commit(entry, &[]).await?;
    registry.store.signals().deliveries_are_due();
    Ok(Changed { value, settled })
}

/// The newest deliveries to a webhook that the filter lets through.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn list_deliveries(
    registry: &Registry,
    id: WebhookId,
    filter: Filter,
    limit: i64,
) -> Result<Vec<Delivery>> {
    find(registry, id).await?;
    Ok(deliveries::list(registry.store.readers(), id, filter, limit).await?)
}

/// One delivery, with what is sent.
///
/// # Errors
/// When there is none with these ids or the database fails.
pub async fn find_delivery(
    registry: &Registry,
    webhook: WebhookId,
    id: DeliveryId,
) -> Result<(Delivery, String)> {
    let found = deliveries::by_id(registry.store.readers(), webhook, id).await?;
    Ok(found.ok_or(Missing::Delivery)?)
}

/// Has a delivery tried again for a day, whatever came of it. The message keeps its id, so that a receiver which has
/// it already can tell.
///
/// # Errors
/// When there is none with these ids, the webhook is disabled, or the database fails.
pub async fn replay(
    registry: &Registry,
    actor: &Actor,
    webhook: WebhookId,
    id: DeliveryId,
) -> Result<Changed<Delivery>> {
    let mut change = Change::begin(registry, actor).await?;
    let webhook = active(&mut change, webhook).await?;
    // Read now: after the commit nothing may fail any more.
    let (mut value, _) = find_delivery(registry, webhook.id, id).await?;
    let now = change.now;
    if !deliveries::replay(&mut change.tx, webhook.id, id, now).await? {
        return Err(Missing::Delivery.into());
    }
    let before = json!({"state": value.state.as_str()});
    (value.state, value.due_at) = (deliveries::State::Pending, now);
    let entry = Entry {
        action: "webhook.replayed",
        target: ("webhook_delivery", id.to_string()),
        account: None,
        before: Some(before),
        after: Some(json!({"state": value.state.as_str(), "webhook_id": webhook.id})),
    };
    let settled = change.commit(entry, &[]).await?;
    registry.store.signals().deliveries_are_due();
    Ok(Changed { value, settled })
}

/// Switches off a webhook whose endpoint says that it is gone for good.
///
/// # Errors
/// When the database fails.
pub(super) async fn disable_gone(registry: &Registry, id: WebhookId) -> Result<()> {
    let actor = Actor::system("webhooks");
    let mut change = Change::begin(registry, &actor).await?;
    let Some(mut webhook) = store::load(&mut change.tx, id).await? else {
        return Ok(());
    };
    if webhook.status != WebhookStatus::Active {
        return Ok(());
    }
    let before = remembered(&webhook);
    webhook.status = WebhookStatus::Gone;
    webhook.updated_at = change.now;
    store::save(&mut change.tx, &webhook).await?;
    let entry = entry(
        "webhook.disabled",
        &webhook,
        Some(before),
        Some(remembered(&webhook)),
    );
    change.commit(entry, &[]).await?;
    Ok(())
}

async fn load(change: &mut Change<'_>, id: WebhookId) -> Result<Webhook> {
    let found = store::load(&mut change.tx, id).await?;
    Ok(found.ok_or(Missing::Webhook)?)
}

async fn active(change: &mut Change<'_>, id: WebhookId) -> Result<Webhook> {
    let webhook = load(change, id).await?;
    match webhook.status {
        WebhookStatus::Active => Ok(webhook),
        WebhookStatus::Disabled | WebhookStatus::Gone => Err(Conflict::WebhookDisabled.into()),
    }
}

fn seal(registry: &Registry, id: WebhookId, secret: &Secret) -> Result<Vec<u8>> {
    Ok(registry
        .master_key
        .seal(context(id).as_bytes(), secret.as_bytes())?)
}

/// What a webhook's secrets are bound to.
fn context(id: WebhookId) -> String {
    format!("webhook {id}")
}

fn remembered(webhook: &Webhook) -> Value {
    json!({
        "url": webhook.endpoint.without_query(),
        "events": webhook.events.names(),
        "description": webhook.description,
        "status": webhook.status.as_str(),
        "disabled_reason": webhook.status.reason(),
    })
}

fn entry(action: &'static str, webhook: &Webhook, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        action,
        target: ("webhook", webhook.id.to_string()),
        account: None,
        before,
        after,
    }
}
