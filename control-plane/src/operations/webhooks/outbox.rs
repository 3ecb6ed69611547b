//! What a change tells whom. Written in the transaction of the change, so that what happened is told and what didn't
//! isn't; costs one read of a small table for a change that webhooks can hear of, and nothing for others.
//!
//! Key events follow from the records that gateways get, and not from the names of actions: in whatever way a key
//! dies, its record says so. Suspending or cancelling an account touches no key; that is told by the account's event.

use keyward_contract::{AccountId, KeyRecord, KeyState, Record, UnixMillis};
use serde_json::{Map, Value, json};
use sqlx::{Any, Transaction};

use crate::domain::webhook::EventKind;
use crate::operations::Result;
use crate::operations::change::Entry;
use crate::store::webhooks::deliveries::{self, Message};
use crate::store::webhooks::subscribed;

/// Whether anything is to be delivered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Published {
    /// Nobody wants to know.
    Nothing,
    /// Something is.
    Due,
}

/// Writes what a change tells.
///
/// # Errors
/// When the database fails.
pub async fn publish(
    tx: &mut Transaction<'static, Any>,
    now: UnixMillis,
    entry: &Entry,
    records: &[Record],
) -> Result<Published> {
    let mut published = Published::Nothing;
    for (kind, data) in events(now, entry, records) {
        let webhooks = subscribed(tx, kind).await?;
        if webhooks.is_empty() {
            continue;
        }
        let message = message(kind, now, &data);
        deliveries::insert_message(tx, &message).await?;
        for webhook in webhooks {
            deliveries::insert(tx, webhook, &message).await?;
        }
        published = Published::Due;
    }
    Ok(published)
}

/// A message in the form of Standard Webhooks.
pub(super) fn message(kind: EventKind, at: UnixMillis, data: &Value) -> Message {
    let body = json!({"type": kind.as_str(), "timestamp": at.to_rfc3339_millis(), "data": data});
    Message {
        id: format!("msg_{}", uuid::Uuid::now_v7().simple()),
        kind,
        at,
        body: body.to_string(),
    }
}

fn events(now: UnixMillis, entry: &Entry, records: &[Record]) -> Vec<(EventKind, Value)> {
    let keys: Vec<&KeyRecord> = records
        .iter()
        .filter_map(|record| match record {
            Record::Key(key) => Some(key),
            Record::Account(_) => None,
        })
        .collect();
    let mut events: Vec<_> = of_account(entry).into_iter().chain(of_quota(entry)).collect();
    match entry.action {
        // Made by the thousand: for load tests, and of what was made and ended elsewhere.
        "seed.made" | "import.made" => return Vec::new(),
        "key.expiring" => events.extend(expiring(entry)),
        action if action.ends_with("rotated") && !keys.is_empty() => {
            events.extend(rotated(now, entry, &keys));
        }
        action => {
            let made = action.ends_with(".created");
            let was_dead = died_before(entry);
            events.extend(keys.into_iter().filter_map(|key| {
                let kind = match key.state {
                    KeyState::Active if made => EventKind::KeyCreated,
                    KeyState::Revoked | KeyState::Deleted if !was_dead => EventKind::KeyRevoked,
                    _ => return None,
                };
                Some((kind, key_data(key)))
            }));
        }
    }
    events
}

fn of_account(entry: &Entry) -> Option<(EventKind, Value)> {
    let kind = match entry.action {
        "account.created" => EventKind::CustomerCreated,
        "account.updated" => EventKind::CustomerUpdated,
        "account.suspended" => EventKind::CustomerSuspended,
        "account.resumed" => EventKind::CustomerResumed,
        "account.cancelled" => EventKind::CustomerCancelled,
        _ => return None,
    };
    let after = entry.after.as_ref();
    let field = |name: &str| {
        after
            .and_then(|after| after.get(name))
            .cloned()
            .unwrap_or_default()
    };
    let data = json!({
        "customer_id": entry.account,
        "company_name": field("company_name"),
        "tier": field("tier"),
        "status": field("status"),
        "changed": changed(entry),
    });
    Some((kind, data))
}

/// The names of what is no longer as it was.
fn changed(entry: &Entry) -> Vec<&str> {
    let (Some(Value::Object(before)), Some(Value::Object(after))) = (&entry.before, &entry.after) else {
        return Vec::new();
    };
    after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(*value))
        .map(|(name, _)| name.as_str())
        .collect()
}

fn of_quota(entry: &Entry) -> Option<(EventKind, Value)> {
    let kind = match entry.action {
        "quota.80" => EventKind::Quota80,
        "quota.95" => EventKind::Quota95,
        "quota.100" => EventKind::Quota100,
        _ => return None,
    };
    Some((kind, with_owner(entry.account, entry.after.as_ref())))
}

fn expiring(entry: &Entry) -> Option<(EventKind, Value)> {
    let mut data = Map::new();
    data.insert("api_key_id".into(), entry.target.1.clone().into());
    if let Value::Object(rest) = with_owner(entry.account, entry.after.as_ref()) {
        data.extend(rest);
    }
    Some((EventKind::KeyExpiring, data.into()))
}

fn with_owner(account: Option<AccountId>, rest: Option<&Value>) -> Value {
    let mut data = Map::new();
    data.insert("customer_id".into(), json!(account));
    if let Some(Value::Object(rest)) = rest {
        data.extend(rest.clone());
    }
    data.into()
}

/// One key took another's place; further ones that died with it are told as such.
fn rotated(now: UnixMillis, entry: &Entry, keys: &[&KeyRecord]) -> Vec<(EventKind, Value)> {
    let is_old = |key: &KeyRecord| key.state != KeyState::Active || key.id.to_string() == entry.target.1;
    let mut old = keys.iter().filter(|key| is_old(key));
    let Some(new) = keys.iter().find(|key| !is_old(key)) else {
        return Vec::new();
    };
    let replaced = old.next();
    let mut data = key_data(new);
    if let Value::Object(data) = &mut data {
        data.insert("revoked_api_key_id".into(), json!(replaced.map(|key| key.id)));
        let revokes_at = replaced.map(|key| match key.state {
            KeyState::Active => key.expires_at.unwrap_or(now),
            _ => now,
        });
        data.insert(
            "revokes_at".into(),
            json!(revokes_at.map(UnixMillis::to_rfc3339_seconds)),
        );
    }
    let more = old.map(|key| (EventKind::KeyRevoked, key_data(key)));
    std::iter::once((EventKind::KeyRotated, data))
        .chain(more)
        .collect()
}

/// Whether the one key that a change is about was dead before, such as a revoked key that is deleted now.
fn died_before(entry: &Entry) -> bool {
    let state = entry.before.as_ref().and_then(|before| before.get("state"));
    matches!(state.and_then(Value::as_str), Some("revoked" | "deleted"))
}

fn key_data(key: &KeyRecord) -> Value {
    json!({
        "api_key_id": key.id,
        "customer_id": key.account,
        "environment": key.environment,
        "end_customer_id": key.customer,
        "status": match key.state {
            KeyState::Active => "active",
            KeyState::Disabled => "disabled",
            KeyState::Revoked | KeyState::Deleted => "revoked",
        },
        "expires_at": key.expires_at.map(UnixMillis::to_rfc3339_seconds),
    })
}
