//! Whether the log is still the one that it was, and what happens when it isn't.
//!
//! A database that was restored from a backup has a log that ends earlier, and then goes on otherwise. Gateways may hold
//! what was after the backup: keys that nobody knows any more, rights that were never given. Their revisions mean
//! nothing in the restored log. So a **new feed epoch** begins: every stream ends, every gateway takes a snapshot, and
//! what it held is replaced as a whole.
//!
//! It is noticed in two ways. This control plane looks once a second whether the log's head went back or has another
//! history than what was read before, and checks each change that it reads against the one before. And a gateway that
//! connects says the history at its revision: one that the log contradicts proves it, also after a restart, and also
//! when the log has grown past that revision.
//!
//! **A gateway that lies.** Only one whose credential was accepted gets here, and only a claim under the present epoch
//! counts. The worst that it can do is to have all gateways take a snapshot once in [`PAUSE`]: the one pass over the
//! database that this costs is shared by all. In between, a claim that contradicts the log costs its own gateway a
//! snapshot and nobody else anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Feed, Tail};
use crate::store::{self, changes};

/// What gateways claim begins a new epoch at most so often.
const PAUSE: Duration = Duration::from_secs(60);

/// A feed epoch, for as long as it is in force.
#[derive(Clone, Debug)]
pub(in crate::sync) struct Epoch {
    name: Arc<str>,
    present: watch::Receiver<Arc<str>>,
}

impl Epoch {
    /// Its name.
    pub(in crate::sync) fn name(&self) -> &str {
        &self.name
    }

    /// Whether another one is in force. Asked after something was read, it says whether that is of this one's log: an
    /// epoch ends before anything of the next one's log is shown.
    pub(in crate::sync) fn is_over(&self) -> bool {
        *self.present.borrow() != self.name
    }

    /// Until another one is in force.
    pub(in crate::sync) async fn over(&self) {
        let mut present = self.present.clone();
        if present.wait_for(|present| *present != self.name).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Which epoch is in force on this control plane.
#[derive(Debug)]
pub(super) struct Keeper {
    present: watch::Sender<Arc<str>>,
    /// When a gateway's claim last began one.
    claimed: Mutex<Option<Instant>>,
}

impl Keeper {
    pub(super) fn new(name: String) -> Self {
        Self {
            present: watch::Sender::new(name.into()),
            claimed: Mutex::new(None),
        }
    }

    pub(super) fn present(&self) -> Arc<str> {
        Arc::clone(&self.present.borrow())
    }

    /// Whether a claim may begin a new one now; then no other may for a while.
    fn may_begin(&self, now: Instant) -> bool {
        let mut claimed = self.claimed.lock();
        let may = claimed.is_none_or(|claimed| now.saturating_duration_since(claimed) >= PAUSE);
        if may {
            *claimed = Some(now);
        }
        may
    }
}

impl Feed {
    /// The epoch that is in force.
    pub(in crate::sync) fn epoch(&self) -> Epoch {
        let present = self.epoch.present.subscribe();
        let name = Arc::clone(&present.borrow());
        Epoch { name, present }
    }

    /// A gateway holds under this epoch what the log contradicts: a new one begins, unless one did a moment ago.
    pub(in crate::sync) async fn contradicted(&self, epoch: &Epoch, why: &'static str) -> store::Result<()> {
        if self.epoch.may_begin(Instant::now()) {
            self.began_anew(epoch.name(), why).await
        } else {
            tracing::error!(
                why,
                "a gateway contradicts the change log again: it alone is sent a snapshot"
            );
            Ok(())
        }
    }

    /// Looks whether another control plane began a new epoch, and whether the log is still the one that was read.
    pub(super) async fn check(&self) {
        let seen = match changes::head_and_epoch(&self.store).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "the change log's head can't be read; trying again");
                return;
            }
        };
        let present = self.epoch.present();
        if *seen.epoch != *present {
            self.enter(seen);
            return;
        }
        let known = self.tail.read().newest();
        let went_back = seen.place.revision < known.revision;
        let differs = seen.place.revision == known.revision
            && matches!((seen.place.history, known.history), (Some(one), Some(other)) if one != other);
        if (went_back || differs)
            && let Err(error) = self.began_anew(&present, "the log's head has gone back").await
        {
            tracing::warn!(%error, "a new feed epoch can't begin; trying again");
        }
    }

    /// Begins a new epoch after this one, or enters the one that another control plane began.
    pub(super) async fn began_anew(&self, present: &str, why: &'static str) -> store::Result<()> {
        changes::renew_epoch(&self.store, present).await?;
        let seen = changes::head_and_epoch(&self.store).await?;
        tracing::error!(
            why,
            epoch = seen.epoch,
            revision = seen.place.revision,
            "the change log is not the one that it was: an older database was restored, or changes were lost. A new feed \
             epoch begins, and every gateway takes a snapshot"
        );
        self.enter(seen);
        Ok(())
    }

    /// What was read before is of another log. Every stream ends.
    fn enter(&self, seen: changes::Head) {
        let changed = self.epoch.present.send_if_modified(|present| {
            let is_other = **present != *seen.epoch;
            if is_other {
                *present = seen.epoch.into();
            }
            is_other
        });
        if !changed {
            return;
        }
        metrics::counter!("keyward_sync_epochs_total").increment(1);
        *self.tail.write() = Tail::new(seen.place);
        self.gateways.begin_anew(seen.place.revision);
        self.head.send_replace(seen.place.revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_begin_a_new_epoch_once_a_minute() {
        let (keeper, now) = (Keeper::new("one".into()), Instant::now());
        assert!(keeper.may_begin(now));
        assert!(!keeper.may_begin(now + PAUSE / 2));
        assert!(keeper.may_begin(now + PAUSE));
        assert!(!keeper.may_begin(now + PAUSE));
    }
}
