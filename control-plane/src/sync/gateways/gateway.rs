//! One gateway: what it said of itself, and how long it counts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};
use tokio_util::sync::CancellationToken;

/// A lost gateway counts for so long after its last heartbeat: it may still be serving.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) address: String,
    pub(super) version: String,
    pub(super) boot_epoch: u64,
    pub(super) revision: u64,
    /// False until its first snapshot is in force.
    pub(super) holds_something: bool,
    pub(super) refused: BTreeSet<u64>,
    pub(super) heard: Instant,
    pub(super) heard_at: UnixMillis,
    pub(super) link: Link,
    /// How long it serves without hearing from us; `None`: for ever.
    denies_after: Option<Duration>,
}

#[derive(Debug)]
pub(super) enum Link {
    /// This session is its stream; cancelling ends it.
    Up {
        session: u64,
        cancelled: CancellationToken,
    },
    /// The stream broke.
    Lost,
    /// It said goodbye.
    Stopped,
}

impl Gateway {
    pub(super) fn new(hello: &feed::Hello, revision: u64, link: Link, now: Instant) -> Self {
        let bound = Duration::from_millis(hello.max_staleness_ms);
        Self {
            address: hello.address.clone(),
            version: hello.version.clone(),
            boot_epoch: hello.boot_epoch,
            revision,
            holds_something: hello.revision > 0,
            refused: BTreeSet::new(),
            heard: now,
            heard_at: super::super::now(),
            link,
            denies_after: (hello.denies_when_stale && !bound.is_zero()).then_some(bound),
        }
    }

    /// Until when it counts if nothing more is heard of it; `None`: while its stream is up.
    pub(super) fn live_until(&self) -> Option<Instant> {
        match (self.denies_after, &self.link) {
            (_, Link::Stopped) => Some(self.heard),
            // What it counts its bound from was sent before we heard it, so it runs out no later than this.
            (Some(bound), _) => self.heard.checked_add(bound),
            (None, Link::Up { .. }) => None,
            (None, Link::Lost) => Some(self.heard + GRACE),
        }
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        !matches!(self.link, Link::Stopped) && self.live_until().is_none_or(|end| now < end)
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    pub(super) fn is_session(&self, wanted: u64) -> bool {
        matches!(self.link, Link::Up { session, .. } if session == wanted)
    }

    pub(super) fn state(&self) -> &'static str {
        match self.link {
            Link::Up { .. } if self.holds_something => "connected",
            Link::Up { .. } => "syncing",
            Link::Lost => "disconnected",
            Link::Stopped => "stopped",
        }
    }
}
