//! Calls that are made once however often they are sent.
//!
//! The first call under a scope and key runs; its answer is kept for a day, sealed and bound to scope and key.
//! While it runs, and for another body, a repeat is refused. A call that failed on our side is forgotten, unless
//! its change was committed: that it acted is noted in the change's own transaction, so that no crash lets it act
//! twice; only its answer can be lost.

use keyward_contract::UnixMillis;
use zeroize::Zeroizing;

use super::{Registry, Result};
use crate::store::idempotency::Standing;
use crate::store::{StoreError, idempotency};

const GOOD_FOR_MS: i64 = 24 * 3_600_000;

/// What a call under an idempotency key is.
#[derive(Debug)]
pub enum Claim {
    /// The first: it is to be made, and the ticket given back.
    First(Ticket),
    /// A repeat: this is what was answered.
    Repeat(Zeroizing<Vec<u8>>),
    /// A repeat while the first still runs.
    Running,
    /// A repeat of a call that was made, but whose answer was lost.
    Lost,
    /// Another call under the same key.
    Other,
}

/// The right to make the first call.
#[derive(Debug)]
pub struct Ticket(Mark);

/// The key that a call runs under.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Credential, method and path.
    pub scope: String,
    /// The caller's key.
    pub key: String,
}

/// Asks whether a call is the first under its key.
///
/// # Errors
/// When the database fails, or the kept answer can't be opened.
pub async fn claim(registry: &Registry, scope: String, key: String, body: &[u8]) -> Result<Claim> {
    let body_hash = registry.digest_key.digest(body);
    let mut tx = registry.store.begin().await?;
    let now = registry.clock.now();
    idempotency::forget_before(&mut tx, UnixMillis(now.0 - GOOD_FOR_MS)).await?;
    let claim = match idempotency::load(&mut tx, &scope, &key).await? {
        None => {
            idempotency::insert(&mut tx, &scope, &key, body_hash.as_bytes(), now).await?;
            Claim::First(Ticket(Mark { scope, key }))
        }
        Some(earlier) if earlier.body_hash != body_hash.as_bytes() => Claim::Other,
        Some(earlier) => match earlier.answer {
            None if earlier.standing == Standing::Lost => Claim::Lost,
            None => Claim::Running,
            Some(sealed) => Claim::Repeat(registry.master_key.open(&context(&scope, &key), &sealed)?),
        },
    };
    tx.commit().await.map_err(StoreError::from)?;
    Ok(claim)
}

impl Ticket {
    /// What the call's change must carry, so that acting and noting it are one.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.0.clone()
    }
    /// Keeps the answer for repeats.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep(self, registry: &Registry, status: u16, answer: &[u8]) -> Result<()> {
        let sealed = registry
            .master_key
            .seal(&context(&self.0.scope, &self.0.key), answer)?;
        idempotency::keep(&registry.store, &self.0.scope, &self.0.key, status, &sealed).await?;
        Ok(())
    }

    /// Lets the call be made again, unless it acted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(self, registry: &Registry) -> Result<()> {
        idempotency::forget(&registry.store, &self.0.scope, &self.0.key).await?;
        Ok(())
    }
}

fn context(scope: &str, key: &str) -> Vec<u8> {
    // Neither scope nor key has a line break in it.
    format!("{scope}\n{key}").into_bytes()
}
