//! The keys that sign our tokens, and how one follows another.
//!
//! A new key is published half a day before it signs, so that whoever keeps our key set has it by then, and the one
//! before it stays published until its last token has ended. Nothing is locked: a key's number is its predecessor's plus
//! one, so of two control planes that rotate at once one finds the number taken and uses the other's key. Signing and
//! proving read the database, so no control plane ever has an old idea of which keys there are.

use std::sync::Arc;
use std::time::Duration;

use keyward_contract::UnixMillis;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::token::SigningKey;
use crate::operations::{Registry, Result};
use crate::store::signing_keys::{self, SealedKey};

/// How long a key is published before it signs.
const PUBLISHED_BEFORE: Duration = Duration::from_secs(12 * 3_600);
/// How long a key is kept after its successor signs: longer than any token lives, with room for clocks that differ.
const KEPT_AFTER: Duration = Duration::from_secs(2 * 3_600);
/// How often it is looked whether a key is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Makes the next key when it is due, and removes those that no living token needs.
///
/// # Errors
/// When the database fails or there is no randomness.
pub async fn rotate(registry: &Registry) -> Result<()> {
    let now = registry.clock.now();
    let keys = signing_keys::all(registry.store.readers()).await?;
    let lifetime = registry.tokens.signing_key_lifetime;
    match keys.last() {
        None => make(registry, 1, now).await?,
        Some(newest) if later(newest.signs_from, lifetime.saturating_sub(PUBLISHED_BEFORE)) <= now => {
            make(
                registry,
                newest.number.saturating_add(1),
                later(now, PUBLISHED_BEFORE),
            )
            .await?;
        }
        Some(_) => {}
    }
    let needed_from = keys
        .iter()
        .rev()
        .find(|key| later(key.signs_from, KEPT_AFTER) <= now);
    if let (Some(needed), Some(oldest)) = (needed_from, keys.first())
        && oldest.number < needed.number
    {
        signing_keys::remove_before(&registry.store, needed.number).await?;
        tracing::info!(before = needed.number, "old signing keys were removed");
    }
    Ok(())
}

/// Rotates until the end. What fails is tried again a minute later.
pub async fn run(registry: Arc<Registry>, stop: CancellationToken) {
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        if let Err(error) = rotate(&registry).await {
            tracing::warn!(%error, "the signing keys were not looked after");
        }
    }
}

async fn make(registry: &Registry, number: i64, signs_from: UnixMillis) -> Result<()> {
    let secret = SigningKey::new_secret()?;
    let key = SigningKey::from_secret(secret.as_slice()).ok_or(crate::domain::seal::SealError)?;
    let sealed = registry
        .master_key
        .seal(context(key.id()).as_bytes(), secret.as_slice())?;
    let stored = SealedKey {
        number,
        id: key.id().to_owned(),
        sealed,
        signs_from,
        created_at: registry.clock.now(),
    };
    if signing_keys::insert(&registry.store, &stored).await? {
        tracing::info!(number, key = key.id(), "a new signing key was made");
    }
    Ok(())
}

/// The public keys of all tokens of ours that may live, and of those to come.
///
/// # Errors
/// When the database fails.
pub async fn published(registry: &Registry) -> Result<Vec<Value>> {
    let keys = signing_keys::all(registry.store.readers()).await?;
    Ok(keys
        .iter()
        .filter_map(|key| open(registry, key))
        .map(|key| key.jwk())
        .collect())
}

/// The key that signs now: the newest whose time has come. Before the first one's time (another control plane's clock
/// is ahead) it is the first.
pub(super) async fn signing(registry: &Registry) -> Result<Option<SigningKey>> {
    let keys = signing_keys::all(registry.store.readers()).await?;
    let now = registry.clock.now();
    let mut due = keys.iter().rev().filter(|key| key.signs_from <= now);
    let key = due.find_map(|key| open(registry, key));
    Ok(key.or_else(|| keys.iter().find_map(|key| open(registry, key))))
}

/// The key with this id.
pub(super) async fn by_id(registry: &Registry, id: &str) -> Result<Option<SigningKey>> {
    let key = signing_keys::by_id(registry.store.readers(), id).await?;
    Ok(key.and_then(|key| open(registry, &key)))
}

/// Only what opens under the master key and is the key that it is stored as counts.
fn open(registry: &Registry, key: &SealedKey) -> Option<SigningKey> {
    let opened = registry
        .master_key
        .open(context(&key.id).as_bytes(), &key.sealed)
        .ok()
        .and_then(|secret| SigningKey::from_secret(&secret))
        .filter(|opened| opened.id() == key.id);
    if opened.is_none() {
        tracing::error!(key = %key.id, "a signing key can't be opened: was the master key changed?");
    }
    opened
}

fn context(id: &str) -> String {
    format!("signing-key:{id}")
}

fn later(at: UnixMillis, by: Duration) -> UnixMillis {
    let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(at.0.saturating_add(ms))
}
