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

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};
use parking_lot::Mutex;
use tokio::sync::watch;

mod elsewhere;
mod gateway;
mod holding;
mod memory;
pub(super) mod roster;
mod shared;
#[cfg(test)]
mod tests;
mod waiting;

use crate::store::Store;
pub use crate::store::gateways::HeldSnapshot;
use elsewhere::Others;
use gateway::Gateway;
pub use gateway::{Ends, Link};
pub use holding::Confirming;
use holding::shown;
use memory::Memory;
pub(super) use roster::Unwelcome;
use roster::{Roster, Standings};
use shared::Shared;
use waiting::{Waiting, Waits};

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
    /// What is remembered over a restart, where there can be no others.
    memory: Option<Memory>,
    state: Mutex<Roster>,
    /// The newest revision that anyone announced.
    head: watch::Sender<u64>,
    /// Moves whenever a waiting change may have become complete, but by an acknowledgement.
    moved: watch::Sender<u64>,
    /// What was heard up to here is written down for other control planes.
    recorded: watch::Sender<Instant>,
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

impl Gateways {
    /// No gateways yet, no other control plane, and nothing is remembered. A change waits for acknowledgements at most for `wait`.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self::make(wait, None, None)
    }

    /// No gateways yet, among the control planes that share this store.
    #[must_use]
    pub fn over(store: &Store, wait: Duration) -> Self {
        Self::make(wait, Shared::over(store), Memory::over(store))
    }

    fn make(wait: Duration, shared: Option<Shared>, memory: Option<Memory>) -> Self {
        Self(Arc::new(Registry {
            wait,
            control_plane: uuid::Uuid::now_v7().to_string(),
            shared,
            memory,
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
            let next_end = standing.next_end;
            if let Some(propagation) = standing.verdict(deadline, now) {
                metrics::histogram!("keyward_revocation_propagation_seconds",
                    "result" => if propagation.missing.is_empty() { "complete" } else { "partial" })
                .record(began.elapsed().as_secs_f64());
                return propagation;
            }
            let next = [next_end, others.next_look(now)].into_iter().flatten().min();
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
        match (&self.0.shared, &self.0.memory) {
            (Some(shared), _) => shared.admit(self, hello, revision).await,
            (None, Some(memory)) => memory.admit(self, hello, revision).await,
            (None, None) => self.join(hello, revision),
        }
    }

    /// Keeps the id for one that is about to be written down and to join; answers its stream's number.
    fn begin_joining<'g>(&'g self, hello: &'g feed::Hello) -> Result<(u64, Joining<'g>), Unwelcome> {
        let mut state = self.0.state.lock();
        state.check(hello, Instant::now())?;
        state.joining.insert(hello.gateway_id.clone());
        let joining = Joining {
            gateways: self,
            id: &hello.gateway_id,
        };
        Ok((state.next_session(), joining))
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

/// An id that is joining. Dropped, it isn't any more.
struct Joining<'g> {
    gateways: &'g Gateways,
    id: &'g str,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.gateways.0.state.lock().joining.remove(self.id);
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
    pub(super) fn acknowledge(&self, revision: u64) {
        self.change(|roster, id, session| roster.acknowledge(id, session, revision));
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
        self.change(|roster, id, session| roster.refuse(id, session, revision));
        self.gateways.moved();
        self.tell_others();
    }

    /// A heartbeat came.
    pub(super) fn heard(&self) {
        let at = (Instant::now(), super::now());
        let denies = self.change(|roster, id, session| roster.heard(id, session, at));
        if let Some(shared) = self.gateways.0.shared.as_ref().filter(|_| denies) {
            shared.hurry();
        }
    }

    /// It stops on purpose.
    pub(super) fn goodbye(&self) {
        self.leave(Link::Stopped);
        self.gateways.moved();
        self.tell_others();
    }

    fn tell_others(&self) {
        if let Some(shared) = &self.gateways.0.shared {
            shared.changed(&self.gateway_id);
        }
    }

    fn leave(&self, link: Link) {
        self.change(|roster, id, session| roster.leave(id, session, link, Instant::now()));
    }

    fn update(&self, change: impl FnOnce(&mut Gateway)) {
        self.change(|roster, id, session| roster.update(id, session, change));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Roster, &str, u64) -> T) -> T {
        let mut roster = self.gateways.0.state.lock();
        change(&mut roster, &self.gateway_id, self.session)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave(Link::Lost);
        self.gateways.moved();
        self.tell_others();
    }
}
