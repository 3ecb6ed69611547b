//! What the control planes on one PostgreSQL share of their gateways, so that a change which says `complete` says so of
//! all of them.
//!
//! Every control plane writes how its gateways stand: at once when one has acknowledged and others live, and all of them
//! once a second, which is also its own sign of life. It reads the others' rows after each commit of a change, and again
//! whenever one of them tells that it wrote. No row is held in memory as the truth: a change waits by rows that were
//! read after its commit.
//!
//! **Why no connected gateway is left out.** A gateway's row is committed before its stream starts. A change reads the
//! rows after its own commit. So either it reads the row, and waits; or the row was committed after the change, and so
//! the stream begins after the change: that gateway connects at a revision below and is sent the change as the first
//! thing, as if it had connected after the answer. It can't have been connected elsewhere before, since its row would
//! have been there already: a row is never removed while it counts, only moved from one control plane to another by
//! one statement.
//!
//! **Why none is counted out while its stream is up.** Others count a stream for ten seconds after its control plane's
//! last sign of life. A control plane that could give none for five seconds ends all its streams: they go to one that
//! knows more.
//!
//! **Why the bound of a gateway that denies holds.** A heartbeat is echoed only after it was written down here, with the
//! newest revision read in the same transaction. So a gateway never counts its bound from later than the others do,
//! and an echo says of every change before it that this control plane knew of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyward_contract::feed;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

mod renewal;

use super::elsewhere::{Look, Others};
use super::gateway::{Ends, Gateway, Link};
use super::{Gateways, Membership, Unwelcome};
use crate::store::gateways::{self, News};
use crate::store::{self, Store, idempotency};

/// Between two signs of life.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Without a sign of life for so long, all streams end. Far below what others wait for one.
const CUT_OFF_AFTER: Duration = Duration::from_secs(5);
/// No statement here takes longer, or it has failed.
const LONGEST: Duration = Duration::from_secs(2);
/// Acknowledgements that come together are told together.
const GATHER: Duration = Duration::from_millis(5);
/// When they are many, others can wait a little longer: with two hundred gateways and a hundred changes a second each
/// gateway's row is written forty times a second and not a hundred.
const GATHER_MANY: Duration = Duration::from_millis(25);
const MANY: usize = 32;
/// So are heartbeats of gateways that deny when they are stale.
const GATHER_HEARTBEATS: Duration = Duration::from_millis(100);
/// A look that a change needs is given so long, however short the wait for acknowledgements is.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);
/// How many signs of life lie between two looks for what dead control planes left.
const TIDY_EVERY: u64 = 10;

#[derive(Debug)]
pub(super) struct Shared {
    store: Store,
    /// Everybody who asked for a look has a number.
    asked: AtomicU64,
    /// One look at a time: who waits for it is mostly answered by it.
    looking: tokio::sync::Mutex<()>,
    seen: RwLock<Option<Arc<Look>>>,
    /// How often others told that they wrote.
    told: AtomicU64,
    /// Whose standing others should hear of at once.
    changed: Mutex<BTreeSet<String>>,
    wake: Notify,
    /// All gateways should be written now.
    write_all: AtomicBool,
    others_live: AtomicBool,
}

/// What a renewal writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Changed,
    All,
}

impl Shared {
    /// `None` where there can be no other control plane.
    pub(super) fn over(store: &Store) -> Option<Self> {
        (store.engine() == store::Engine::Postgres).then(|| Self {
            store: store.clone(),
            asked: AtomicU64::new(0),
            looking: tokio::sync::Mutex::default(),
            seen: RwLock::default(),
            told: AtomicU64::new(0),
            changed: Mutex::default(),
            wake: Notify::new(),
            write_all: AtomicBool::new(false),
            others_live: AtomicBool::new(true),
        })
    }

    /// Others should hear how this gateway stands.
    pub(super) fn changed(&self, gateway: &str) {
        self.changed.lock().insert(gateway.to_owned());
        if self.others_live.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// A gateway that denies when it is stale waits for its echo.
    pub(super) fn hurry(&self) {
        self.write_all.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Takes a gateway in once its row is committed.
    pub(super) async fn admit(
        &self,
        gateways: &Gateways,
        hello: &feed::Hello,
        revision: u64,
    ) -> Result<Membership, Unwelcome> {
        let (session, _joining) = gateways.begin_joining(hello)?;
        let now = Instant::now();
        let standing = Gateway::new(hello, revision, (session, Ends::default()), now);
        let standing = standing.standing(&hello.gateway_id, now);
        let registering = gateways::register(&self.store, gateways.control_plane(), &standing);
        match tokio::time::timeout(LONGEST, registering).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(Unwelcome::Taken),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a gateway can't be taken in: its place can't be written down");
                return Err(Unwelcome::Unknown);
            }
            Err(_) => return Err(Unwelcome::Unknown),
        }
        let ends = gateways
            .0
            .state
            .lock()
            .join(hello, revision, session, Instant::now());
        Ok(gateways.member(hello, session, ends))
    }

    /// Waits for what can be told together with what there is to tell.
    async fn gather(&self) {
        if self.changed.lock().is_empty() {
            tokio::time::sleep(GATHER_HEARTBEATS).await;
            return;
        }
        tokio::time::sleep(GATHER).await;
        if self.changed.lock().len() > MANY {
            tokio::time::sleep(GATHER_MANY.saturating_sub(GATHER)).await;
        }
    }

    /// What the others wrote, read after this was called.
    async fn look(&self, control_plane: &str) -> store::Result<Arc<Look>> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let _one = self.looking.lock().await;
        let seen = self.seen.read().clone();
        if let Some(seen) = seen.filter(|seen| seen.answers >= ticket) {
            return Ok(seen);
        }
        let (answers, told) = (
            self.asked.load(Ordering::SeqCst),
            self.told.load(Ordering::SeqCst),
        );
        let began = Instant::now();
        let gateways = gateways::elsewhere(&self.store, control_plane).await?;
        let look = Arc::new(Look {
            told,
            began,
            ended: Instant::now(),
            answers,
            gateways,
        });
        *self.seen.write() = Some(Arc::clone(&look));
        Ok(look)
    }
}

impl Gateways {
    /// What others wrote, read after this was called; by the deadline, or as it was before.
    pub(super) async fn others_now(&self, deadline: Instant) -> Others {
        let Some(shared) = &self.0.shared else {
            return Others::None;
        };
        let deadline = deadline.max(Instant::now() + SHORTEST_LOOK);
        match tokio::time::timeout_at(deadline.into(), shared.look(self.control_plane())).await {
            Ok(Ok(look)) => {
                self.forget_moved(&look);
                Others::Seen(look)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "other control planes' gateways can't be read");
                // Not again at once.
                tokio::time::sleep_until(deadline.min(Instant::now() + SHORTEST_LOOK / 10).into()).await;
                Others::Unsure(shared.seen.read().clone())
            }
            Err(_) => Others::Unsure(shared.seen.read().clone()),
        }
    }

    /// How often others told that they wrote.
    pub(super) fn others_told(&self) -> u64 {
        let shared = self.0.shared.as_ref();
        shared.map_or(0, |shared| shared.told.load(Ordering::SeqCst))
    }

    /// What others wrote when it was last read.
    pub(super) fn others_before(&self) -> Others {
        let shared = self.0.shared.as_ref();
        let seen = shared.and_then(|shared| shared.seen.read().clone());
        seen.map_or(Others::None, Others::Seen)
    }

    /// Reads what the other control planes know of their gateways, for who wants to see it fresh.
    pub async fn look(&self) {
        self.others_now(Instant::now()).await;
    }

    /// A gateway that left here and is on another control plane now is theirs to tell of.
    fn forget_moved(&self, look: &Look) {
        let mut state = self.0.state.lock();
        for elsewhere in &look.gateways {
            let id = &elsewhere.standing.id;
            let left = state.gateways.get(id).and_then(|gateway| gateway.left);
            if left.is_some_and(|left| left < look.began) {
                state.gateways.remove(id);
            }
        }
    }

    /// Another control plane wrote: changes that wait look again.
    pub(in crate::sync) fn others_wrote(&self) {
        if let Some(shared) = &self.0.shared {
            shared.told.fetch_add(1, Ordering::SeqCst);
        }
        self.0.moved.send_modify(|moved| *moved = moved.wrapping_add(1));
    }

    /// Another control plane came, went, or took a gateway over: everything is written now, to see what is left.
    pub(in crate::sync) fn others_moved(&self) {
        self.others_wrote();
        if let Some(shared) = &self.0.shared {
            shared.hurry();
        }
    }

    /// Gives the first sign of life; where there can be no other control plane, recalls the gateways of earlier starts.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::sync) async fn begin_sharing(&self) -> store::Result<()> {
        if let Some(memory) = &self.0.memory {
            memory.recall(self).await?;
        }
        match &self.0.shared {
            Some(shared) => self.renew(shared, Which::All, News::Joined).await.map(drop),
            None => Ok(()),
        }
    }

    /// Shares until `shutdown`.
    pub(in crate::sync) async fn keep_sharing(self, shutdown: CancellationToken) {
        if let Some(memory) = &self.0.memory {
            memory.strike_off(&self, shutdown.clone()).await;
        }
        let Some(shared) = &self.0.shared else {
            return;
        };
        let mut tick = tokio::time::interval(RENEW_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut ticks) = (Instant::now(), 0u64);
        loop {
            let is_tick = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => true,
                () = shared.wake.notified() => false,
            };
            if !is_tick {
                shared.gather().await;
            }
            let all = shared.write_all.swap(false, Ordering::Relaxed) || is_tick;
            let which = if all { Which::All } else { Which::Changed };
            match self.renew(shared, which, News::Standing).await {
                Ok(began) => last = began,
                Err(error) => tracing::warn!(%error, "other control planes can't be told of gateways here"),
            }
            if last.elapsed() >= CUT_OFF_AFTER {
                self.cut_off();
            }
            if is_tick {
                ticks += 1;
                self.others_now(Instant::now()).await;
                if ticks.is_multiple_of(TIDY_EVERY) {
                    self.tidy(shared).await;
                }
            }
        }
    }

    /// Says that this control plane ends.
    pub(in crate::sync) async fn stop_sharing(&self) {
        if let Some(shared) = &self.0.shared {
            let resigning = gateways::resign(&shared.store, self.control_plane());
            if !matches!(tokio::time::timeout(LONGEST, resigning).await, Ok(Ok(()))) {
                tracing::warn!("other control planes can't be told that this one ends; they will notice");
            }
        }
    }

    /// Says that this control plane answers no call any more.
    pub(crate) async fn leave(&self) {
        if let Some(shared) = &self.0.shared {
            let leaving = gateways::leave(&shared.store, self.control_plane());
            if !matches!(tokio::time::timeout(LONGEST, leaving).await, Ok(Ok(()))) {
                tracing::warn!("calls that were left unfinished can be made again in ten seconds, not now");
            }
        }
    }

    /// Ends every stream: what goes over them may be old by now.
    fn cut_off(&self) {
        let state = self.0.state.lock();
        let mut streams = 0;
        for gateway in state.gateways.values() {
            if let Link::Up(ends) = &gateway.link {
                ends.cut_off.cancel();
                streams += 1;
            }
        }
        if streams > 0 {
            tracing::error!(
                streams,
                "the database is away for too long: gateways are sent to other control planes"
            );
        }
    }

    /// Clears up after control planes that are no more.
    async fn tidy(&self, shared: &Shared) {
        let tidied = async {
            idempotency::forget_abandoned(&shared.store, self.control_plane()).await?;
            gateways::forget_old(&shared.store).await
        };
        match tokio::time::timeout(LONGEST, tidied).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "what dead control planes left can't be cleared up"),
        }
    }
}
