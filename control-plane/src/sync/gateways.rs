//! Which gateways there are, and what is in force at each.
//!
//! A change waits here until every live gateway has acknowledged it. A gateway is live while its stream is up
//! and for ten seconds after its last heartbeat, unless it said goodbye. One that denies when it is stale is
//! live until its bound has run out, and no longer: from then on it refuses every call by itself.
//!
//! One lock, held for microseconds; waiting holds none.
//!
//! Several control planes on one PostgreSQL share what they know through its tables (`shared`): then the gateways of all
//! of them are waited for and shown, and an id is fenced on all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

mod elsewhere;
mod gateway;
mod holding;
mod shared;
#[cfg(test)]
mod tests;
mod waiting;

use crate::store::Store;
pub use crate::store::gateways::HeldSnapshot;
use elsewhere::Others;
pub(super) use gateway::Ends;
use gateway::{Gateway, Link};
pub use holding::Confirming;
use holding::shown;
use shared::Shared;
use waiting::{Waiting, Waits};

/// A stream that said nothing for so long may be replaced by the next one with its id.
const DEAD_AFTER: Duration = Duration::from_secs(3);
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
    /// The name of this start of this control plane.
    control_plane: String,
    /// What is shared with other control planes, where there can be others.
    shared: Option<Shared>,
    state: Mutex<State>,
    /// The newest revision that anyone announced.
    head: watch::Sender<u64>,
    /// Moves whenever a waiting change may have become complete, but by an acknowledgement.
    moved: watch::Sender<u64>,
    /// What was heard up to here is written down for other control planes.
    recorded: watch::Sender<Instant>,
}

#[derive(Debug, Default)]
struct State {
    gateways: BTreeMap<String, Gateway>,
    /// Ids whose gateways are about to join.
    joining: BTreeSet<String>,
    sessions: u64,
    commits: VecDeque<(u64, Instant)>,
    /// The changes that wait, and for whom.
    waits: Waits,
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
    /// `connected`, `holding` (connected, and keeps a snapshot from being in force), `syncing` (connected, and holds
    /// nothing yet), `disconnected` or `stopped`.
    pub state: &'static str,
    /// The snapshot that waits for confirmation.
    pub held: Option<HeldSnapshot>,
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
    /// Whether another control plane has this id can't be asked now.
    Unknown,
}

impl Gateways {
    /// No gateways yet, and no other control plane. A change waits for acknowledgements at most for `wait`.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self::make(wait, None)
    }

    /// No gateways yet, among the control planes that share this store.
    #[must_use]
    pub fn over(store: &Store, wait: Duration) -> Self {
        Self::make(wait, Shared::over(store))
    }

    fn make(wait: Duration, shared: Option<Shared>) -> Self {
        Self(Arc::new(Registry {
            wait,
            control_plane: uuid::Uuid::now_v7().to_string(),
            shared,
            state: Mutex::default(),
            head: watch::Sender::new(0),
            moved: watch::Sender::new(0),
            recorded: watch::Sender::new(Instant::now()),
        }))
    }

    /// The name of this start of this control plane.
    #[must_use]
    pub fn control_plane(&self) -> &str {
        &self.0.control_plane
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
        let mut others = Others::Unsure(None);
        let waiting = Waiting::begin(self, revision);
        loop {
            moved.borrow_and_update();
            // The first look is after the commit; what it saw holds until others tell something else.
            if !others.still_holds(self.others_told(), Instant::now()) {
                others = self.others_now(deadline).await;
            }
            let now = Instant::now();
            let mut standing = waiting.standing(now);
            others.join(&mut standing, revision, now);
            if standing.awaited() == 0 || now >= deadline {
                let propagation = standing.propagation();
                metrics::histogram!("keyward_revocation_propagation_seconds",
                    "result" => if propagation.missing.is_empty() { "complete" } else { "partial" })
                .record(began.elapsed().as_secs_f64());
                return propagation;
            }
            let next = [standing.next_end, others.next_look(now)]
                .into_iter()
                .flatten()
                .min();
            let next = next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                _ = moved.changed() => {}
                () = waiting.over() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Every gateway that was heard in the last day; those on other control planes as of the last look.
    #[must_use]
    pub fn status(&self) -> Vec<GatewayStatus> {
        let now = Instant::now();
        let state = self.0.state.lock();
        let mut status: BTreeMap<String, GatewayStatus> = BTreeMap::new();
        for gateway in self
            .others_before()
            .status(now, |revision| state.lag(revision, now))
        {
            status.insert(gateway.gateway_id.clone(), gateway);
        }
        for (id, gateway) in &state.gateways {
            // Where its stream is, more is known of it.
            if gateway.is_connected() || !status.contains_key(id) {
                status.insert(id.clone(), state.status(id, gateway, now));
            }
        }
        status.into_values().collect()
    }

    /// How many gateways are live: among so many a limit is shared when Redis is away.
    #[must_use]
    pub fn live(&self) -> u32 {
        let now = Instant::now();
        let mut standing = self.0.state.lock().standing(0, now);
        self.others_before().join(&mut standing, 0, now);
        u32::try_from(standing.gateways.len()).unwrap_or(u32::MAX)
    }

    /// The newest announced revision.
    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.0.head.subscribe()
    }

    /// Whether there can be other control planes.
    pub(super) fn is_shared(&self) -> bool {
        self.0.shared.is_some()
    }

    /// Moves when what was heard is written down for other control planes; `None` where there can be none.
    pub(super) fn recorded(&self) -> Option<watch::Receiver<Instant>> {
        self.0.shared.is_some().then(|| self.0.recorded.subscribe())
    }

    /// Takes a gateway in, unless a live one has its id, here or on another control plane. `revision` is what it holds
    /// of our own log.
    pub(super) async fn admit(&self, hello: &feed::Hello, revision: u64) -> Result<Membership, Unwelcome> {
        match &self.0.shared {
            None => self.join(hello, revision),
            Some(shared) => shared.admit(self, hello, revision).await,
        }
    }

    /// Takes a gateway in, unless a live one has its id here.
    pub(super) fn join(&self, hello: &feed::Hello, revision: u64) -> Result<Membership, Unwelcome> {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        state.check(hello, now)?;
        let session = state.next_session();
        let ends = state.join(hello, revision, session, now);
        drop(state);
        Ok(self.member(hello, session, ends))
    }

    /// The log is another one, with this head: what gateways acknowledged says nothing of it.
    pub(super) fn begin_anew(&self, head: u64) {
        let mut state = self.0.state.lock();
        state.commits.clear();
        for gateway in state.gateways.values_mut() {
            gateway.revision = 0;
        }
        drop(state);
        self.0.head.send_replace(head);
        self.moved();
        if let Some(shared) = &self.0.shared {
            shared.hurry();
        }
    }

    fn member(&self, hello: &feed::Hello, session: u64, ends: Ends) -> Membership {
        self.moved();
        Membership {
            gateways: self.clone(),
            gateway_id: hello.gateway_id.clone(),
            session,
            ends,
        }
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

/// What a waiting change sees of the live gateways.
#[derive(Debug, Default)]
struct Standings {
    gateways: BTreeMap<String, Reached>,
    /// When the first of those that are awaited stops being live by itself.
    next_end: Option<Instant>,
}

/// How far a change has come at one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// It is in force.
    Acknowledged,
    /// It may be acknowledged yet.
    Awaited,
    /// It will never be in force.
    Refused,
}

impl Standings {
    /// Of one that is known twice, on its way from one control plane to another, the worse counts.
    fn add(&mut self, id: &str, reached: Reached, end: Option<Instant>) {
        let known = self.gateways.entry(id.to_owned()).or_insert(reached);
        *known = reached.max(*known);
        if reached == Reached::Awaited {
            self.next_end = [self.next_end, end].into_iter().flatten().min();
        }
    }

    fn awaited(&self) -> usize {
        self.missing().count()
    }

    /// Who may yet acknowledge.
    fn missing(&self) -> impl Iterator<Item = &str> {
        let gateways = self.gateways.iter();
        gateways
            .filter(|(_, reached)| **reached == Reached::Awaited)
            .map(|(id, _)| id.as_str())
    }

    fn propagation(self) -> Propagation {
        let mut propagation = Propagation::default();
        for (id, reached) in self.gateways {
            match reached {
                Reached::Acknowledged => propagation.acknowledged += 1,
                Reached::Awaited | Reached::Refused => propagation.missing.push(id),
            }
        }
        propagation
    }
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

    fn standing(&self, revision: u64, now: Instant) -> Standings {
        let mut standings = Standings::default();
        for (id, gateway) in self.gateways.iter().filter(|(_, gateway)| gateway.is_live(now)) {
            let reached = match gateway.refused.contains(&revision) {
                true => Reached::Refused,
                false if gateway.revision >= revision => Reached::Acknowledged,
                // Not before somebody confirms the snapshot; nobody has to wait for that.
                false if gateway.held.is_some() => Reached::Refused,
                false => Reached::Awaited,
            };
            standings.add(id, reached, gateway.live_until());
        }
        standings
    }

    /// Whether this one may join.
    fn check(&self, hello: &feed::Hello, now: Instant) -> Result<(), Unwelcome> {
        if self.joining.contains(&hello.gateway_id) {
            return Err(Unwelcome::Taken);
        }
        let known = self.gateways.get(&hello.gateway_id);
        if let Some(gateway) = known.filter(|gateway| gateway.is_connected()) {
            let is_dead = now.saturating_duration_since(gateway.heard) >= DEAD_AFTER;
            if !is_dead || hello.boot_epoch < gateway.boot_epoch {
                return Err(Unwelcome::Taken);
            }
        }
        let room = self
            .gateways
            .values()
            .filter(|gateway| gateway.is_shown(now))
            .count();
        if known.is_none() && room >= MOST_GATEWAYS {
            return Err(Unwelcome::TooMany);
        }
        Ok(())
    }

    fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Takes one in that was checked; the stream that it had ends.
    fn join(&mut self, hello: &feed::Hello, revision: u64, session: u64, now: Instant) -> Ends {
        self.gateways.retain(|_, gateway| gateway.is_shown(now));
        if let Some(Link::Up(ends)) = self.gateways.get(&hello.gateway_id).map(|gateway| &gateway.link) {
            ends.replaced.cancel();
        }
        let ends = Ends::default();
        let gateway = Gateway::new(hello, revision, (session, ends.clone()), now);
        self.gateways.insert(hello.gateway_id.clone(), gateway);
        ends
    }

    /// For how long a gateway with this revision has not been at the newest one.
    fn lag(&self, revision: u64, now: Instant) -> Duration {
        let behind = self.commits.partition_point(|(commit, _)| *commit <= revision);
        let since = self.commits.get(behind);
        since.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }

    fn status(&self, id: &str, gateway: &Gateway, now: Instant) -> GatewayStatus {
        GatewayStatus {
            gateway_id: id.to_owned(),
            address: gateway.address.clone(),
            version: gateway.version.clone(),
            revision: gateway.revision,
            lag_seconds: self.lag(gateway.revision, now).as_secs_f64(),
            last_heartbeat: gateway.heard_at,
            state: shown(gateway.stream(), gateway.held),
            held: gateway.held,
        }
    }
}

/// A gateway's place while its stream is up. Dropped, the gateway counts as disconnected.
#[derive(Debug)]
pub(super) struct Membership {
    gateways: Gateways,
    gateway_id: String,
    session: u64,
    ends: Ends,
}

impl Membership {
    /// What ends this stream from our side.
    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Everything up to here is in force at the gateway.
    ///
    /// Costs the same however many gateways there are: of the changes that wait only one that waited for this gateway
    /// alone looks again.
    pub(super) fn acknowledge(&self, revision: u64) {
        self.update(|gateway| {
            gateway.revision = revision.max(gateway.revision);
            gateway.holds_something = true;
            gateway.held = gateway.held.filter(|held| held.revision > revision);
        });
        self.gateways
            .0
            .state
            .lock()
            .waits
            .acknowledged(&self.gateway_id, revision);
        self.tell_others();
    }

    /// What it has in force is of another log.
    pub(super) fn holds_nothing(&self) {
        self.update(|gateway| gateway.revision = 0);
        self.gateways.moved();
        self.tell_others();
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
        self.tell_others();
    }

    /// A heartbeat came.
    pub(super) fn heard(&self) {
        let mut denies = false;
        self.update(|gateway| {
            gateway.heard = Instant::now();
            gateway.heard_at = super::now();
            denies = gateway.denies();
        });
        if let Some(shared) = self.gateways.0.shared.as_ref().filter(|_| denies) {
            shared.hurry();
        }
    }

    /// It stops on purpose.
    pub(super) fn goodbye(&self) {
        self.update(|gateway| gateway.leave(Link::Stopped));
        self.gateways.moved();
        self.tell_others();
    }

    fn tell_others(&self) {
        if let Some(shared) = &self.gateways.0.shared {
            shared.changed(&self.gateway_id);
        }
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
        self.update(|gateway| gateway.leave(Link::Lost));
        self.gateways.moved();
        self.tell_others();
    }
}
