//! How the link stands, readable by everyone at the cost of a few atomic loads.
//!
//! Staleness is counted from the moment at which we sent the heartbeat that the control plane echoed, once
//! everything it knew of then is in force here. So however long frames were under way or asleep in a buffer, a
//! gateway that denies when stale never honours a revoked key for longer than its bound.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyward_config::{Staleness, WhenStale};
use parking_lot::Mutex;

/// Every word that [`SyncStatus::state`] can be.
pub const STATES: [&str; 4] = ["connecting", "syncing", "following", "holding"];

/// As many characters are kept of why the link is down.
const LONGEST_ERROR: usize = 300;
const CONNECTING: u8 = 0;
const SYNCING: u8 = 1;
const FOLLOWING: u8 = 2;
const HOLDING: u8 = 3;

/// The link's state, shared by the follower that writes it and all who read it.
#[derive(Debug)]
pub struct SyncState {
    staleness: Staleness,
    /// The gateway's monotonic clock when this was made, and the same moment here.
    made: Duration,
    origin: Instant,
    stage: AtomicU8,
    held: [AtomicU64; 3],
    head: AtomicU64,
    live_gateways: AtomicU32,
    /// Milliseconds on the gateway's monotonic clock, plus one; 0: never.
    heard_ms: AtomicU64,
    pub(super) changes: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) snapshots: AtomicU64,
    pub(super) connections: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// The link at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncStatus {
    /// One of [`STATES`].
    pub state: &'static str,
    /// The snapshot that waits for confirmation, if one does.
    pub held: Option<HeldSnapshot>,
    /// The newest revision that the control plane told of.
    pub control_plane_revision: u64,
    /// For how long nothing proves that the key set is the newest; `None`: nothing ever did.
    pub since_heard: Option<Duration>,
    /// Gateways that are live, this one among them; at least 1.
    pub live_gateways: u32,
    /// Changes put in force.
    pub changes: u64,
    /// Records that were refused.
    pub refused: u64,
    /// Snapshots put in force.
    pub snapshots: u64,
    /// Streams opened.
    pub connections: u64,
}

/// A snapshot that is not put in force before somebody confirms it: it would drop more than half of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSnapshot {
    /// Its revision.
    pub revision: u64,
    /// Keys in force here.
    pub keys: u64,
    /// Those of them that it has not.
    pub dropped: u64,
}

impl SyncState {
    /// Not connected. `now` is the gateway's monotonic clock, the one that [`Self::is_stale`] will be asked by.
    #[must_use]
    pub fn new(staleness: Staleness, now: Duration) -> Self {
        Self {
            staleness,
            made: now,
            origin: Instant::now(),
            stage: AtomicU8::new(CONNECTING),
            held: Default::default(),
            head: AtomicU64::default(),
            live_gateways: AtomicU32::new(1),
            heard_ms: AtomicU64::default(),
            changes: AtomicU64::default(),
            refused: AtomicU64::default(),
            snapshots: AtomicU64::default(),
            connections: AtomicU64::default(),
            last_error: Mutex::default(),
        }
    }

    /// Whether calls that need a key are to be refused: the bound has run out, and `when_stale` is `deny`. Also
    /// until the control plane was first heard after a start, since keys may have been revoked meanwhile.
    #[must_use]
    pub fn is_stale(&self, now: Duration) -> bool {
        match self.staleness {
            Staleness {
                max: Some(bound),
                then: WhenStale::Deny,
            } => self.since_heard(now).is_none_or(|since| since > bound),
            Staleness { max: None, .. }
            | Staleness {
                then: WhenStale::Serve,
                ..
            } => false,
        }
    }

    /// For how long nothing proves that the key set is the newest; `None`: nothing ever did.
    #[must_use]
    pub fn since_heard(&self, now: Duration) -> Option<Duration> {
        let heard_ms = self.heard_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_millis(heard_ms)))
    }

    /// Gateways that are live, this one among them: at least 1.
    #[must_use]
    pub fn live_gateways(&self) -> u32 {
        self.live_gateways.load(Ordering::Relaxed).max(1)
    }

    /// Whether the key set is being followed, this moment.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == FOLLOWING
    }

    /// The link as it now stands.
    #[must_use]
    pub fn status(&self, now: Duration) -> SyncStatus {
        let stage = usize::from(self.stage.load(Ordering::Relaxed));
        SyncStatus {
            held: self.held(),
            state: STATES.get(stage).copied().unwrap_or("connecting"),
            control_plane_revision: self.head.load(Ordering::Relaxed),
            since_heard: self.since_heard(now),
            live_gateways: self.live_gateways(),
            changes: self.changes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            snapshots: self.snapshots.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }

    /// [`Self::status`] for the admin listener.
    #[must_use]
    pub fn detail(&self, now: Duration) -> serde_json::Value {
        let status = self.status(now);
        serde_json::json!({
            "state": status.state,
            "heldSnapshot": status.held.map(|held| serde_json::json!({
                "revision": held.revision, "keys": held.keys, "dropped": held.dropped,
            })),
            "controlPlaneRevision": status.control_plane_revision,
            "secondsSinceHeard": status.since_heard.map(|since| since.as_secs_f64()),
            "stale": self.is_stale(now),
            "liveGateways": status.live_gateways,
            "changes": status.changes,
            "refusedRecords": status.refused,
            "snapshots": status.snapshots,
            "connections": status.connections,
            "lastError": *self.last_error.lock(),
        })
    }

    /// Milliseconds on the gateway's monotonic clock; never 0.
    pub(super) fn steady_ms(&self) -> u64 {
        let now = self.made.saturating_add(self.origin.elapsed());
        u64::try_from(now.as_millis())
            .unwrap_or(u64::MAX - 1)
            .saturating_add(1)
    }

    /// Why the link is down, in words that hold no secret. Forgotten once it is up.
    pub(super) fn failed(&self, url: &str, why: &str) {
        // Some of the words come from outside.
        let why = why.chars().filter(|character| !character.is_control());
        let why: String = why.take(LONGEST_ERROR).collect();
        *self.last_error.lock() = Some(format!("{url}: {why}"));
    }

    pub(super) fn syncing(&self) {
        *self.last_error.lock() = None;
        self.stage.store(SYNCING, Ordering::Relaxed);
    }

    pub(super) fn following(&self) {
        self.stage.store(FOLLOWING, Ordering::Relaxed);
    }

    /// A snapshot waits for confirmation.
    pub(super) fn holding(&self, snapshot: HeldSnapshot) {
        let HeldSnapshot {
            revision,
            keys,
            dropped,
        } = snapshot;
        for (place, number) in self.held.iter().zip([revision, keys, dropped]) {
            place.store(number, Ordering::Relaxed);
        }
        self.stage.store(HOLDING, Ordering::Relaxed);
    }

    /// The snapshot that waits for confirmation, if one does.
    #[must_use]
    pub fn held(&self) -> Option<HeldSnapshot> {
        let [revision, keys, dropped] = &self.held;
        (self.stage.load(Ordering::Relaxed) == HOLDING).then(|| HeldSnapshot {
            revision: revision.load(Ordering::Relaxed),
            keys: keys.load(Ordering::Relaxed),
            dropped: dropped.load(Ordering::Relaxed),
        })
    }

    pub(super) fn disconnected(&self) {
        self.stage.store(CONNECTING, Ordering::Relaxed);
    }

    /// What the control plane said of itself.
    pub(super) fn told(&self, head: u64, live_gateways: u32) {
        self.head.store(head, Ordering::Relaxed);
        self.live_gateways.store(live_gateways, Ordering::Relaxed);
    }

    pub(super) fn heard(&self, steady_ms: u64) {
        self.heard_by(steady_ms, self.steady_ms());
    }

    /// What was in force when this heartbeat of ours was sent is in force here. Later than now is a lie. Both are
    /// milliseconds on the gateway's monotonic clock, plus one.
    pub fn heard_by(&self, steady_ms: u64, now_ms: u64) {
        self.heard_ms.fetch_max(steady_ms.min(now_ms), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(then: WhenStale, max: Option<Duration>) -> SyncState {
        SyncState::new(Staleness { max, then }, 100 * SECOND)
    }

    #[test]
    fn a_bound_of_three_seconds_denies_until_heard_and_after_three_seconds_of_silence() {
        let state = state(WhenStale::Deny, Some(3 * SECOND));
        assert!(state.is_stale(100 * SECOND), "nothing was heard since the start");
        state.heard(100_001);
        assert!(!state.is_stale(103 * SECOND));
        assert!(state.is_stale(Duration::from_millis(103_001)));
        // A late answer to an earlier heartbeat takes nothing back.
        state.heard(50_000);
        assert!(!state.is_stale(103 * SECOND));
    }

    #[test]
    fn who_serves_on_is_never_stale() {
        assert!(!state(WhenStale::Serve, Some(SECOND)).is_stale(1_000 * SECOND));
        assert!(!state(WhenStale::Deny, None).is_stale(1_000 * SECOND));
    }

    #[test]
    fn an_echo_from_the_future_is_not_believed() {
        let state = state(WhenStale::Deny, Some(3 * SECOND));
        state.heard(u64::MAX);
        assert!(state.is_stale(110 * SECOND));
    }
}
