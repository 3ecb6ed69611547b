//! Which gateways there are, and what is in force at each.
//!
//! A change waits here until every live gateway has acknowledged it. A gateway is live while its stream is up
//! and for ten seconds after its last heartbeat, unless it said goodbye. One that denies when it is stale is
//! live until its bound has run out, and no longer: from then on it refuses every call by itself.
//!
//! One lock, held for microseconds; waiting holds none.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod gateway;
#[cfg(test)]
mod tests;

use gateway::{Gateway, Link};

/// A stream that said nothing for so long may be replaced by the next one with its id.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// Gateways that are gone are shown for so long.
const SHOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// As many gateways are known at most.
const MOST_GATEWAYS: usize = 10_000;
/// As many commits are remembered, to tell how long a gateway has been behind.
const REMEMBERED_COMMITS: usize = 4_096;
/// As many refused revisions of one gateway are remembered.
const REMEMBERED_REFUSALS: usize = 256;

/// The gateways of this control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateways(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    wait: Duration,
    state: Mutex<State>,
    /// The newest revision that anyone announced.
    head: watch::Sender<u64>,
    /// Moves whenever a waiting change may have become complete.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    gateways: BTreeMap<String, Gateway>,
    sessions: u64,
    commits: VecDeque<(u64, Instant)>,
}

/// One gateway as `GET /admin/gateways` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayStatus {
    /// Its id.
    pub gateway_id: String,
    /// Where its proxy listener is.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The revision in force there.
    pub revision: u64,
    /// For how long it has not been at the newest revision; 0 when it is.
    pub lag_seconds: f64,
    /// When it was last heard.
    pub last_heartbeat: UnixMillis,
    /// `connected`, `syncing` (connected, and holds nothing yet), `disconnected` or `stopped`.
    pub state: &'static str,
}

/// How far a change has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Live gateways that have it in force.
    pub acknowledged: usize,
    /// Live gateways that have not said so.
    pub missing: Vec<String>,
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acknowledged = self.acknowledged;
        if self.missing.is_empty() {
            write!(f, "complete; gateways={acknowledged}")
        } else {
            write!(
                f,
                "partial; gateways={acknowledged}; missing={}",
                self.missing.join(",")
            )
        }
    }
}

/// Why a gateway may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwelcome {
    /// A live gateway has this id.
    Taken,
    /// More gateways than one control plane knows.
    TooMany,
}

impl Gateways {
    /// No gateways yet. A change waits for acknowledgements at most for `wait`.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self(Arc::new(Registry {
            wait,
            state: Mutex::default(),
            head: watch::Sender::new(0),
            moved: watch::Sender::new(0),
        }))
    }

    /// Tells that a change was committed: the feed reads it at once.
    pub fn announce(&self, revision: u64) {
        self.0.state.lock().committed(revision, Instant::now());
        self.0.head.send_if_modified(|head| {
            let is_news = revision > *head;
            *head = revision.max(*head);
            is_news
        });
    }

    /// Waits until every live gateway has this revision in force, at most for the configured time.
    pub async fn acknowledged(&self, revision: u64) -> Propagation {
        let began = Instant::now();
        let deadline = began + self.0.wait;
        let mut moved = self.0.moved.subscribe();
        loop {
            moved.borrow_and_update();
            let now = Instant::now();
            let standing = self.0.state.lock().standing(revision, now);
            if standing.awaited == 0 || now >= deadline {
                metrics::histogram!("keyward_revocation_propagation_seconds",
                    "result" => if standing.propagation.missing.is_empty() { "complete" } else { "partial" })
                .record(began.elapsed().as_secs_f64());
                return standing.propagation;
            }
            let next = standing.next_end.map_or(deadline, |end| end.min(deadline));
            let _ = tokio::time::timeout_at(next.into(), moved.changed()).await;
        }
    }

    /// Every gateway that was heard in the last day.
    #[must_use]
    pub fn status(&self) -> Vec<GatewayStatus> {
        let now = Instant::now();
        let state = self.0.state.lock();
        let gateways = state.gateways.iter();
        gateways
            .map(|(id, gateway)| state.status(id, gateway, now))
            .collect()
    }

    /// How many gateways are live: among so many a limit is shared when Redis is away.
    #[must_use]
    pub fn live(&self) -> u32 {
        let now = Instant::now();
        let state = self.0.state.lock();
        let live = state
            .gateways
            .values()
            .filter(|gateway| gateway.is_live(now))
            .count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// The newest announced revision.
    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.0.head.subscribe()
    }

    /// Takes a gateway in, unless a live one has its id. `revision` is what it holds of our own log.
    pub(super) fn join(&self, hello: &feed::Hello, revision: u64) -> Result<Membership, Unwelcome> {
        let cancelled = CancellationToken::new();
        let session = self
            .0
            .state
            .lock()
            .join(hello, revision, &cancelled, Instant::now())?;
        self.moved();
        Ok(Membership {
            gateways: self.clone(),
            gateway_id: hello.gateway_id.clone(),
            session,
            replaced: cancelled,
        })
    }

    fn moved(&self) {
        self.0.moved.send_modify(|moved| *moved = moved.wrapping_add(1));
        let state = self.0.state.lock();
        let connected = state
            .gateways
            .values()
            .filter(|gateway| gateway.is_connected())
            .count();
        drop(state);
        metrics::gauge!("keyward_sync_gateways").set(f64::from(u32::try_from(connected).unwrap_or(u32::MAX)));
    }
}

/// What a waiting change sees.
struct Standing {
    propagation: Propagation,
    /// How many of the missing may still acknowledge.
    awaited: usize,
    /// When the first of them stops being live by itself.
    next_end: Option<Instant>,
}

impl State {
    fn committed(&mut self, revision: u64, now: Instant) {
        if self.commits.back().is_none_or(|(newest, _)| *newest < revision) {
            self.commits.push_back((revision, now));
        }
        if self.commits.len() > REMEMBERED_COMMITS {
            self.commits.pop_front();
        }
    }

    fn standing(&self, revision: u64, now: Instant) -> Standing {
        let mut standing = Standing {
            propagation: Propagation::default(),
            awaited: 0,
            next_end: None,
        };
        for (id, gateway) in self.gateways.iter().filter(|(_, gateway)| gateway.is_live(now)) {
            let refused = gateway.refused.contains(&revision);
            if gateway.revision >= revision && !refused {
                standing.propagation.acknowledged += 1;
                continue;
            }
            standing.propagation.missing.push(id.clone());
            if !refused {
                standing.awaited += 1;
                let end = gateway.live_until();
                standing.next_end = [standing.next_end, end].into_iter().flatten().min();
            }
        }
        standing
    }

    fn join(
        &mut self,
        hello: &feed::Hello,
        revision: u64,
        cancelled: &CancellationToken,
        now: Instant,
    ) -> Result<u64, Unwelcome> {
        if let Some(gateway) = self.gateways.get(&hello.gateway_id)
            && let Link::Up { cancelled, .. } = &gateway.link
        {
            let is_dead = now.saturating_duration_since(gateway.heard) >= DEAD_AFTER;
            if !is_dead || hello.boot_epoch < gateway.boot_epoch {
                return Err(Unwelcome::Taken);
            }
            cancelled.cancel();
        }
        self.gateways
            .retain(|_, gateway| gateway.is_connected() || now < gateway.heard + SHOWN_FOR);
        if self.gateways.len() >= MOST_GATEWAYS && !self.gateways.contains_key(&hello.gateway_id) {
            return Err(Unwelcome::TooMany);
        }
        self.sessions += 1;
        let link = Link::Up {
            session: self.sessions,
            cancelled: cancelled.clone(),
        };
        self.gateways
            .insert(hello.gateway_id.clone(), Gateway::new(hello, revision, link, now));
        Ok(self.sessions)
    }

    fn status(&self, id: &str, gateway: &Gateway, now: Instant) -> GatewayStatus {
        let behind = self
            .commits
            .partition_point(|(revision, _)| *revision <= gateway.revision);
        let lag = self
            .commits
            .get(behind)
            .map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since));
        GatewayStatus {
            gateway_id: id.to_owned(),
            address: gateway.address.clone(),
            version: gateway.version.clone(),
            revision: gateway.revision,
            lag_seconds: lag.as_secs_f64(),
            last_heartbeat: gateway.heard_at,
            state: gateway.state(),
        }
    }
}

/// A gateway's place while its stream is up. Dropped, the gateway counts as disconnected.
#[derive(Debug)]
pub(super) struct Membership {
    gateways: Gateways,
    gateway_id: String,
    session: u64,
    replaced: CancellationToken,
}

impl Membership {
    /// Ends when another stream has taken this one's place.
    pub(super) fn replaced(&self) -> &CancellationToken {
        &self.replaced
    }

    /// Everything up to here is in force at the gateway.
    pub(super) fn acknowledge(&self, revision: u64) {
        self.update(|gateway| {
            gateway.revision = revision.max(gateway.revision);
            gateway.holds_something = true;
        });
        self.gateways.moved();
    }

    /// A record of this revision is not in force at the gateway and won't be.
    pub(super) fn refuse(&self, revision: u64) {
        self.update(|gateway| {
            gateway.refused.insert(revision);
            if gateway.refused.len() > REMEMBERED_REFUSALS {
                gateway.refused.pop_first();
            }
        });
        self.gateways.moved();
    }

    /// A heartbeat came.
    pub(super) fn heard(&self) {
        self.update(|gateway| {
            gateway.heard = Instant::now();
            gateway.heard_at = super::now();
        });
    }

    /// It stops on purpose.
    pub(super) fn goodbye(&self) {
        self.update(|gateway| gateway.link = Link::Stopped);
        self.gateways.moved();
    }

    fn update(&self, change: impl FnOnce(&mut Gateway)) {
        let mut state: MutexGuard<'_, State> = self.gateways.0.state.lock();
        if let Some(gateway) = state.gateways.get_mut(&self.gateway_id)
            && gateway.is_session(self.session)
        {
            change(gateway);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.update(|gateway| gateway.link = Link::Lost);
        self.gateways.moved();
    }
}
