//! Saying of keys that they expire within a week: once for each key and expiry, as an audit row and an event.
//!
//! Expiring itself needs nobody: gateways know the instant. A key whose expiry was moved is told of again; one that
//! was made with less than a week to live is told of at once.

use std::time::Duration;

use keyward_contract::UnixMillis;
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Registry, Result};
use crate::store::expiring::{self, ExpiringKey};

/// How long before its end a key is told of.
const AHEAD: Duration = Duration::from_secs(7 * 86_400);
const KEYS_A_CHANGE: i64 = 200;

/// Tells of every key that expires soon and was not told of; answers how many. When there is none, that costs one
/// read.
///
/// # Errors
/// When the database fails: then the rest is told of next time.
pub async fn announce(registry: &Registry) -> Result<usize> {
    let actor = Actor::system("expiry");
    let mut announced = 0;
    loop {
        let now = registry.clock.now();
        if !expiring::any(registry.store.readers(), now, ahead(now)).await? {
            return Ok(announced);
        }
        let mut change = Change::begin(registry, &actor).await?;
        let now = change.now;
        let keys = expiring::take(&mut change.tx, now, ahead(now), KEYS_A_CHANGE).await?;
        if keys.is_empty() {
            return Ok(announced);
        }
        announced += keys.len();
        change.commit_all(keys.iter().map(entry).collect(), &[]).await?;
    }
}

fn ahead(now: UnixMillis) -> UnixMillis {
    UnixMillis(
        now.0
            .saturating_add(i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX)),
    )
}

fn entry(key: &ExpiringKey) -> Entry {
    Entry {
        action: "key.expiring",
        target: ("api_key", key.id.clone()),
        account: Some(key.account),
        before: None,
        after: Some(json!({
            "name": key.name,
            "environment": key.environment,
            "end_customer_id": key.customer,
            "mask": key.mask,
            "expires_at": key.expires_at.to_rfc3339_seconds(),
        })),
    }
}
