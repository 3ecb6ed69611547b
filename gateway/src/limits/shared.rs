//! Buckets and quotas that all gateways share in Redis: what a call needs of them, and the thread that asks.
//!
//! A call spends what was leased before, without waiting. When that runs low the limiter's thread asks for more, for
//! many accounts in one question. A call that finds nothing at hand waits for an answer, at most `limiter.max_wait`.
//! When Redis does not answer within `limiter.timeout`, or with an error, its lane is *away*: calls go by their
//! fallback, nothing waits, and what they spend is owed and told when Redis is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyward_buckets::{Ask, Buckets, ChargeAnswer, ChargeAsk, LANES, RefundAsk};
use keyward_config::{SharedLimiter, Taking, Topology};
use keyward_contract::AccountId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::lease::{Lease, Outage};
use super::quota::Quota;
use crate::ledger::Ledger;
use crate::sync::SyncState;

mod lane;
mod link;
mod thread;

pub use thread::LimiterThread;

/// After a start, what earlier starts counted counts as known once the link was up and the ledger clear for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// The way to the shared buckets, for every worker.
#[derive(Debug)]
pub struct SharedLimits {
    config: SharedLimiter,
    buckets: Buckets,
    lanes: Box<[Lane]>,
    origin: Instant,
    sync: Arc<SyncState>,
    ledger: Arc<Ledger>,
    knows_past: AtomicBool,
    /// Another gateway of the same id serves as well, or is about to.
    is_handed_over: AtomicBool,
    /// Connections so far: behind another one there may be another server.
    connections: AtomicU32,
    counts: Counts,
}

/// What has happened, for metrics. All of it grows.
#[derive(Debug, Default)]
pub struct Counts {
    /// Batches sent.
    pub batches: AtomicU64,
    /// Questions in them.
    pub asks: AtomicU64,
    /// Questions that failed, or that no answer came to in time.
    pub failures: AtomicU64,
    /// Calls that waited for an answer.
    pub waits: AtomicU64,
    /// Calls that were decided by their fallback.
    pub fallbacks: AtomicU64,
    /// Times that a lane went away.
    pub outages: AtomicU64,
}

/// Accounts that are asked about together and that are away together: all of them, or those of a part of a cluster.
#[derive(Debug, Default)]
pub(super) struct Lane {
    queue: Mutex<Vec<Item>>,
    wake: Notify,
    hurry: Notify,
    is_away: AtomicBool,
    /// A batch is under way: its answer says how the lane stands.
    is_asking: AtomicBool,
    outages: AtomicU64,
    /// Leases that hold tokens.
    holding: AtomicU64,
}

/// What waits to be asked.
#[derive(Debug)]
pub(super) enum Item {
    Lease(Arc<Lease>),
    Quota(Arc<Quota>),
    Charge(Box<Waiting>),
    Refund(RefundAsk),
}

/// A call that waits for its charge.
#[derive(Debug)]
pub(super) struct Waiting {
    ask: ChargeAsk,
    /// Told of the answer before the call is, so that the next question knows of it.
    quota: Arc<Quota>,
    answer: oneshot::Sender<ChargeAnswer>,
}

/// Who else goes by this gateway's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameIs {
    /// Nobody.
    Ours,
    /// The gateway that takes over.
    Shared,
}

/// How soon something is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A call waits.
    Now,
    /// With the next batch.
    Soon,
}

impl SharedLimits {
    /// Connects to nothing yet. `origin` is where the gateway's monotonic clock began.
    #[must_use]
    pub fn new(
        config: SharedLimiter,
        gateway_id: &str,
        origin: Instant,
        sync: Arc<SyncState>,
        ledger: Arc<Ledger>,
    ) -> Arc<Self> {
        Arc::new(Self {
            buckets: Buckets::new(config.redis.clone(), gateway_id.to_owned())
                .held_by_start(ledger.boot_epoch()),
            config,
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            origin,
            sync,
            ledger,
            knows_past: AtomicBool::new(false),
            is_handed_over: AtomicBool::new(false),
            connections: AtomicU32::new(0),
            counts: Counts::default(),
        })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &SharedLimiter {
        &self.config
    }

    /// Whether tokens are leased, rather than asked for by every call.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.config.taking == Taking::Leased
    }

    /// What has happened.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Milliseconds on the gateway's monotonic clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The outage in which this account's lane is; `None` while Redis answers.
    #[must_use]
    pub fn outage(&self, account: AccountId) -> Option<Outage> {
        let lane = self.lane(account)?;
        lane.is_away.load(Ordering::Acquire).then(|| self.outage_of(lane))
    }

    /// A call waited for an answer in vain: the lane is away until it answers.
    pub fn waited_in_vain(&self, account: AccountId) -> Option<Outage> {
        let lane = self.lane(account)?;
        self.went_away(lane);
        Some(self.outage_of(lane))
    }

    fn outage_of(&self, lane: &Lane) -> Outage {
        Outage {
            number: lane.outages.load(Ordering::Acquire),
            sharers: self.sharers(),
        }
    }

    /// Live gateways as last heard, at least 1.
    #[must_use]
    pub fn sharers(&self) -> u32 {
        self.sync.live_gateways()
    }

    /// Lanes that are away, of how many there are.
    #[must_use]
    pub fn away(&self) -> (usize, usize) {
        let lanes = self.lanes_in_use();
        let away = |lane: &&Lane| lane.is_away.load(Ordering::Relaxed);
        (lanes.iter().filter(away).count(), lanes.len())
    }

    /// Leases that hold tokens, about.
    #[must_use]
    pub fn leases(&self) -> u64 {
        let holding = |lane: &Lane| lane.holding.load(Ordering::Relaxed);
        self.lanes_in_use().iter().map(holding).sum()
    }

    /// Whether parts of it can be away while others are there. A cluster's connection mends itself.
    fn is_cluster(&self) -> bool {
        self.config.redis.topology == Topology::Cluster
    }

    fn lanes_in_use(&self) -> &[Lane] {
        let many = if self.is_cluster() { LANES } else { 1 };
        self.lanes.get(..many).unwrap_or(&self.lanes)
    }

    fn lane(&self, account: AccountId) -> Option<&Lane> {
        self.lanes.get(self.buckets.lane(account))
    }

    /// Has this asked about.
    pub fn ask_lease(&self, lease: &Arc<Lease>, urgency: Urgency) {
        if let Some(lane) = self.lane(lease.name().account) {
            lane.push(Item::Lease(Arc::clone(lease)), urgency);
        }
    }

    /// Has this asked about.
    pub fn ask_quota(&self, account: AccountId, quota: &Arc<Quota>, urgency: Urgency) {
        if let Some(lane) = self.lane(account) {
            lane.push(Item::Quota(Arc::clone(quota)), urgency);
        }
    }

    /// A call waits for what was asked.
    pub fn hurry(&self, account: AccountId) {
        if let Some(lane) = self.lane(account) {
            lane.hurry.notify_one();
        }
    }

    /// Charges one call by itself; `None` when no answer came in time, and then the lane is away.
    pub async fn charge(
        &self,
        account: AccountId,
        ask: ChargeAsk,
        quota: &Arc<Quota>,
    ) -> Option<ChargeAnswer> {
        let lane = self.lane(account)?;
        let (answer, answered) = oneshot::channel();
        let quota = Arc::clone(quota);
        lane.push(
            Item::Charge(Box::new(Waiting { ask, quota, answer })),
            Urgency::Now,
        );
        match tokio::time::timeout(self.config.timeout, answered).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) | Err(_) => {
                self.went_away(lane);
                None
            }
        }
    }

    /// Gives back what [`Self::charge`] took.
    pub fn refund(&self, account: AccountId, refund: RefundAsk) {
        if let Some(lane) = self.lane(account) {
            lane.push(Item::Refund(refund), Urgency::Soon);
        }
    }

    /// Which connection it is over which Redis is asked.
    #[must_use]
    pub fn connection(&self) -> u32 {
        self.connections.load(Ordering::Acquire)
    }

    /// Whether the control plane has all that earlier starts of this gateway counted.
    #[must_use]
    pub fn knows_past(&self) -> bool {
        self.knows_past.load(Ordering::Relaxed) && !self.is_handed_over.load(Ordering::Relaxed)
    }

    /// From now on (or no longer) another gateway of this id takes of the same quotas: each says only how much more it
    /// took than it said before. Of buckets each holds its own.
    pub fn share_name(&self, name: NameIs) {
        self.is_handed_over
            .store(name == NameIs::Shared, Ordering::Relaxed);
    }

    fn went_away(&self, lane: &Lane) {
        // The number first: who sees the lane away must see this outage's.
        if !lane.is_away.load(Ordering::Acquire) {
            lane.outages.fetch_add(1, Ordering::AcqRel);
            if !lane.is_away.swap(true, Ordering::AcqRel) {
                self.counts.outages.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn came_back(&self, lane: &Lane) {
        lane.is_away.store(false, Ordering::Release);
    }
}

impl Lane {
    fn push(&self, item: Item, urgency: Urgency) {
        let was_empty = {
            let mut queue = self.queue.lock();
            queue.push(item);
            queue.len() == 1
        };
        if urgency == Urgency::Now {
            self.hurry.notify_one();
        } else if was_empty {
            self.wake.notify_one();
        }
    }

    fn take(&self, limit: usize) -> Vec<Item> {
        let mut queue = self.queue.lock();
        let many = limit.min(queue.len());
        queue.drain(..many).collect()
    }

    fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }
}

/// A question and whom its answer goes to.
struct Question {
    item: Item,
    ask: Ask,
}
