//! What the gateway counts, and `/metrics`.
//!
//! Each worker thread counts for itself, in memory that no other worker touches; the sums are made when
//! somebody asks. Labels are bounded by the configuration and by constants here, never by what clients or
//! upstreams send.
//!
//! Cost: [`WorkerTelemetry::finished`] is about a dozen plain additions, without lock, atomic read-modify-write
//! or allocation (a row for a route, tier or upstream is allocated once per worker). Nothing here fails: what has
//! no place of its own is counted as `other`.

pub mod catalogue;
mod collect;
mod counts;
mod histogram;
mod names;
mod process;
mod sums;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::counts::{CacheLevel, CutReason, Endpoint, Turned, UpstreamFailure, UpstreamRetry};
pub use self::histogram::{Reading, SharedHistogram};
pub use self::sums::Sums;

use self::counts::Counts;
use self::names::Names;
use self::sums::Exposition;
use crate::limits::Which;

/// Routes with a label of their own.
const MAX_ROUTES: u16 = 1024;
/// Upstreams with a label of their own.
const MAX_UPSTREAMS: u16 = 256;
/// Tiers with a label of their own.
const MAX_TIERS: u16 = 32;
const TIER_ROWS: usize = MAX_TIERS as usize;
/// Decisions with a label of their own.
const MAX_DECISIONS: usize = 63;

/// What is known when the gateway starts.
#[derive(Clone, Debug)]
pub struct TelemetryShape {
    /// Route names by [`Finished::route`].
    pub routes: Vec<String>,
    /// Upstream names by [`Finished::upstream`].
    pub upstreams: Vec<String>,
    /// Names by [`Decision`]; the first is `accepted`.
    pub decisions: &'static [&'static str],
    /// For `keyward_build_info`.
    pub version: &'static str,
}

/// What was decided on a call: an index into [`TelemetryShape::decisions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(pub u8);

impl Decision {
    /// Forwarded.
    pub const ACCEPTED: Self = Self(0);
}

/// A tier's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierSlot(Option<u16>);

impl TierSlot {
    /// Of calls whose account was not identified.
    pub const NONE: Self = Self(None);
}

/// One call, once it has been answered.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// The route's index; `None` where no route was found.
    pub route: Option<u16>,
    /// The account's tier.
    pub tier: TierSlot,
    /// The status that the client got.
    pub status: u16,
    /// What was decided.
    pub decision: Decision,
    /// From the end of the request's head to the end of the answer.
    pub duration: Duration,
    /// The part of it that was not waiting for the upstream.
    pub overhead: Duration,
    /// The upstream's index; `None` where the call was not forwarded.
    pub upstream: Option<u16>,
    /// The part of the duration that was waiting for the upstream.
    pub upstream_time: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

impl Finished {
    /// The first digit of the upstream's status. The client's status is the upstream's where the call was
    /// accepted, but for 499, which is written where the client did not wait for any.
    fn upstream_class(&self) -> usize {
        match (self.decision, self.status) {
            (_, 499) => 0,
            (Decision::ACCEPTED, status @ 100..600) => usize::from(status / 100),
            _ => 0,
        }
    }
}

/// Adds what another module counts, when somebody asks.
pub type Observer = Box<dyn Fn(&mut Sums) + Send + Sync>;

/// Everything that is counted in one gateway.
pub struct Telemetry {
    decisions: &'static [&'static str],
    version: &'static str,
    routes: Names,
    upstreams: Names,
    tiers: Names,
    /// One for each worker there ever was: counters never go down.
    workers: Mutex<Vec<Arc<Counts>>>,
    observers: Mutex<Vec<Observer>>,
    /// Locked for the whole of a scrape, so that of two at once none hands older sums to the recorder.
    exposition: Mutex<Exposition>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("workers", &self.workers.lock().len())
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Counts nothing yet.
    #[must_use]
    pub fn new(shape: TelemetryShape) -> Arc<Self> {
        Arc::new(Self {
            decisions: shape.decisions,
            version: shape.version,
            routes: Names::new(&shape.routes, MAX_ROUTES),
            upstreams: Names::new(&shape.upstreams, MAX_UPSTREAMS),
            tiers: Names::new(&[], MAX_TIERS),
            workers: Mutex::default(),
            observers: Mutex::default(),
            exposition: Mutex::new(Exposition::new()),
        })
    }

    /// A worker's own counters. To be called on the thread that will count.
    #[must_use]
    pub fn worker(&self) -> WorkerTelemetry {
        let counts = Arc::new(Counts::default());
        self.workers.lock().push(Arc::clone(&counts));
        WorkerTelemetry {
            shared: Rc::new(Worker { counts }),
        }
    }

    /// The label of a tier. The first 32 have their own, the rest share `other`. Locks: for when a record is
    /// read, not for each call.
    #[must_use]
    pub fn tier(&self, name: &str) -> TierSlot {
        TierSlot(Some(self.tiers.place(name)))
    }

    /// The index of a route for [`Finished::route`]: for routes that a reload brings.
    #[must_use]
    pub fn route(&self, name: &str) -> u16 {
        self.routes.place(name)
    }

    /// The index of an upstream for [`Finished::upstream`]: for upstreams that a reload brings.
    #[must_use]
    pub fn upstream(&self, name: &str) -> u16 {
        self.upstreams.place(name)
    }

    /// The label of an upstream that the configuration names: its own, or `other` past the bound.
    #[must_use]
    pub fn upstream_label(&self, name: &str) -> Arc<str> {
        self.upstreams.name(usize::from(self.upstreams.place(name)))
    }

    /// Has `observer` add its own sums to every scrape. It must not block, nor ask for a scrape itself.
    pub fn observe(&self, observer: Observer) {
        self.observers.lock().push(observer);
    }

    /// All of it as Prometheus text. Takes on the order of a millisecond and reads `/proc`: not for a worker's
    /// thread.
    #[must_use]
    pub fn render(&self) -> String {
        let exposition = self.exposition.lock();
        exposition.render(&self.collect())
    }
}

/// One worker thread's counters. It and its clones stay on the thread that made them: that is what makes plain
/// additions enough.
#[derive(Clone, Debug)]
pub struct WorkerTelemetry {
    shared: Rc<Worker>,
}

#[derive(Debug)]
struct Worker {
    counts: Arc<Counts>,
}

impl WorkerTelemetry {
    fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Counts one call, once it has been answered.
    pub fn finished(&self, call: &Finished) {
        self.counts().finished(call);
    }

    /// Counts what was decided on a call that somebody else forwards.
    pub fn checked(&self, endpoint: Endpoint, decision: Decision) {
        self.counts().checked(endpoint, decision);
    }

    /// Counts a call that a limit in shadow mode would have refused.
    pub fn would_limit(&self, tier: TierSlot, limit: Which) {
        self.counts().would_limit(tier, limit);
    }

    /// Counts a call in flight that was cut off.
    pub fn turned(&self, reason: Turned) {
        counts::add_one(&self.counts().turned, reason as usize);
    }

    /// A call in flight was ended.
    pub fn cut(&self, reason: CutReason) {
        counts::add_one(&self.counts().cut, reason as usize);
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connection(&self) -> Open {
        self.counts().connections_opened.add(1);
        Open {
            worker: self.clone(),
            what: What::Connection,
        }
    }

    /// Counts a client connection as dozing until the guard is dropped.
    pub fn dozing(&self) -> Open {
        self.counts().dozes_begun.add(1);
        Open {
            worker: self.clone(),
            what: What::Doze,
        }
    }

    /// Counts a call as in flight until the guard is dropped.
    pub fn in_flight(&self) -> Open {
        self.counts().calls_begun.add(1);
        Open {
            worker: self.clone(),
            what: What::Call,
        }
    }

    /// Counts a connection that was opened to an upstream.
    pub fn upstream_connected(&self, upstream: u16) {
        self.counts().upstream_connected(upstream);
    }

    /// Counts an attempt that an upstream failed.
    pub fn upstream_failed(&self, upstream: u16, failure: UpstreamFailure) {
        self.counts().upstream_failed(upstream, failure);
    }

    /// Counts what became of the wish to send a call again.
    pub fn upstream_retried(&self, upstream: u16, outcome: UpstreamRetry) {
        self.counts().upstream_retried(upstream, outcome);
    }

    /// Counts a key look-up that was answered at this level.
    pub fn cache_hit(&self, level: CacheLevel) {
        counts::add_one(&self.counts().cache_hits, level as usize);
    }

    /// Counts a key look-up that this level could not answer.
    pub fn cache_miss(&self, level: CacheLevel) {
        counts::add_one(&self.counts().cache_misses, level as usize);
    }
}

/// Something that is counted as open while this exists.
#[derive(Debug)]
#[must_use = "it is counted as open only while this exists"]
pub struct Open {
    worker: WorkerTelemetry,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Connection,
    Doze,
    Call,
}

impl Drop for Open {
    fn drop(&mut self) {
        let counts = self.worker.counts();
        match self.what {
            What::Connection => counts.connections_closed.add(1),
            What::Doze => counts.dozes_ended.add(1),
            What::Call => counts.calls_ended.add(1),
        }
    }
}

#[cfg(test)]
mod tests;
