//! The changes that wait for acknowledgements, and for whom each one does.
//!
//! With many gateways a change is acknowledged many times. Each acknowledgement is struck off the lists of the few changes
//! that wait; only who was waiting for nobody else looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::{Gateways, Standings};

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    numbers: u64,
    waits: BTreeMap<u64, Wait>,
}

#[derive(Debug)]
struct Wait {
    revision: u64,
    /// The gateways here that it last saw to be missing.
    missing: BTreeSet<String>,
    over: Arc<Notify>,
}

impl Waits {
    /// This gateway has everything up to here in force.
    pub(super) fn acknowledged(&mut self, gateway: &str, revision: u64) {
        for wait in self.waits.values_mut().filter(|wait| wait.revision <= revision) {
            if wait.missing.remove(gateway) && wait.missing.is_empty() {
                wait.over.notify_one();
            }
        }
    }
}

/// One change that waits. Dropped, it waits no more.
#[derive(Debug)]
pub(super) struct Waiting<'g> {
    gateways: &'g Gateways,
    number: u64,
    revision: u64,
    over: Arc<Notify>,
}

impl<'g> Waiting<'g> {
    pub(super) fn begin(gateways: &'g Gateways, revision: u64) -> Self {
        let over = Arc::new(Notify::new());
        let mut state = gateways.0.state.lock();
        state.waits.numbers += 1;
        let number = state.waits.numbers;
        let wait = Wait {
            revision,
            missing: BTreeSet::new(),
            over: Arc::clone(&over),
        };
        state.waits.waits.insert(number, wait);
        drop(state);
        Self {
            gateways,
            number,
            revision,
            over,
        }
    }

    /// How far it has come at the gateways here; who is missing is waited for from this moment on.
    pub(super) fn standing(&self, now: Instant) -> Standings {
        let mut state = self.gateways.0.state.lock();
        let standing = state.standing(self.revision, now);
        if let Some(wait) = state.waits.waits.get_mut(&self.number) {
            wait.missing = standing.missing().map(str::to_owned).collect();
        }
        standing
    }

    /// Nobody who was missing is missing any more.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gateways.0.state.lock().waits.waits.remove(&self.number);
    }
}
