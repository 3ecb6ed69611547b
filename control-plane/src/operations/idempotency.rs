//! Calls that are made once however often they are sent.
//!
//! The first call under a scope and key runs; its answer is kept for a day, sealed and bound to scope and key.
//! While it runs, and for another body, a repeat is refused. A call that failed on our side is forgotten, unless
//! its change was committed: that it acted is noted in the change's own transaction, so that no crash lets it act
//! twice; only its answer can be lost.
//!
//! Any control plane of a database answers a repeat. A call that was left running by one that is no more is forgotten
//! after ten seconds; if that one still lived, its change is refused, so that the call is never made twice.

use std::sync::Arc;
use std::time::Duration;

use keyward_contract::UnixMillis;
use zeroize::Zeroizing;

use super::{Registry, Result};
use crate::store::idempotency::Standing;
use crate::store::{Purpose, StoreError, idempotency};

const GOOD_FOR_MS: i64 = 24 * 3_600_000;
/// Between two tries to note how a call ended.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a call under an idempotency key is. Can't be printed: a kept answer may hold a key in clear.
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

/// How a first call ended. Can't be printed: the answer may hold a key in clear.
pub enum Ended {
    /// With an answer that repeats are to get.
    Answered {
        /// Its status.
        status: u16,
        /// All of it.
        answer: Zeroizing<Vec<u8>>,
    },
    /// By a fault of ours: it may be made again, unless it acted.
    Failed,
}

/// The key that a call runs under.
pub type Mark = idempotency::Claimed;

/// A call can be forgotten between two looks at it, but not often.
const LOOKS: usize = 5;

/// Asks whether a call is the first under its key.
///
/// # Errors
/// When the database fails, or the kept answer can't be opened.
pub async fn claim(registry: &Registry, scope: String, key: String, body: &[u8]) -> Result<Claim> {
    let body_hash = registry.digest_key.digest(body);
    let mark = Mark {
        scope,
        key,
        claim: uuid::Uuid::now_v7().to_string(),
    };
    for _ in 0..LOOKS {
        let mut tx = registry.store.begin(Purpose::Other).await?;
        let now = registry.clock.now();
        idempotency::forget_before(&mut tx, UnixMillis(now.0 - GOOD_FOR_MS)).await?;
        let control_plane = registry.gateways.control_plane();
        let is_first = idempotency::insert(&mut tx, &mark, control_plane, body_hash.as_bytes(), now).await?;
        let earlier = match is_first {
            true => None,
            false => idempotency::load(&mut tx, &mark.scope, &mark.key).await?,
        };
        tx.commit().await.map_err(StoreError::from)?;
        match earlier {
            None if is_first => return Ok(Claim::First(Ticket(mark))),
            // It ended between the two statements, by a fault: it can be made again.
            None => {}
            Some(earlier) => return repeat(registry, &mark, earlier, body_hash.as_bytes()),
        }
    }
    Ok(Claim::Running)
}

fn repeat(
    registry: &Registry,
    mark: &Mark,
    earlier: idempotency::Earlier,
    body_hash: &[u8],
) -> Result<Claim> {
    if earlier.body_hash != body_hash {
        return Ok(Claim::Other);
    }
    Ok(match earlier.answer {
        None if earlier.standing == Standing::Lost => Claim::Lost,
        None => Claim::Running,
        Some(sealed) => Claim::Repeat(
            registry
                .master_key
                .open(&context(&mark.scope, &mark.key), &sealed)?,
        ),
    })
}

/// Forgets the answers that are too old to be repeated, also when nobody calls.
///
/// # Errors
/// When the database fails.
pub async fn purge(registry: &Registry) -> Result<()> {
    let mut tx = registry.store.begin(Purpose::Other).await?;
    let now = registry.clock.now();
    idempotency::forget_before(&mut tx, UnixMillis(now.0 - GOOD_FOR_MS)).await?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(())
}

impl Ticket {
    /// What the call's change must carry, so that acting and noting it are one.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.0.clone()
    }

    /// Notes how the call ended: keeps its answer for repeats, or lets it be made again. When the database can't
    /// be written to now, that is done as soon as it can: no key stays taken by a call that has ended.
    pub async fn end(self, registry: &Arc<Registry>, ended: Ended) {
        let Err(error) = self.note(registry, &ended).await else {
            return;
        };
        tracing::warn!(%error, "how a call ended could not be noted for repeats; trying again");
        let registry = Arc::clone(registry);
        tokio::spawn(async move {
            let deadline = registry.clock.now().0.saturating_add(GOOD_FOR_MS);
            let mut pause = FIRST_PAUSE;
            while registry.clock.now().0 < deadline {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                if self.note(&registry, &ended).await.is_ok() {
                    return;
                }
            }
        });
    }

    async fn note(&self, registry: &Registry, ended: &Ended) -> Result<()> {
        let mark = &self.0;
        match ended {
            Ended::Answered { status, answer } => {
                let sealed = registry
                    .master_key
                    .seal(&context(&mark.scope, &mark.key), answer)?;
                idempotency::keep(&registry.store, mark, *status, &sealed).await?;
            }
            Ended::Failed => idempotency::forget(&registry.store, mark).await?,
        }
        Ok(())
    }
}

fn context(scope: &str, key: &str) -> Vec<u8> {
    // Neither scope nor key has a line break in it.
    format!("{scope}\n{key}").into_bytes()
}
