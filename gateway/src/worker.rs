//! One worker: a thread with a runtime of its own that serves calls from its own listener.
//!
//! What is here belongs to one thread and is reached without locks; what all workers share is in [`Shared`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use keyward_contract::{KeyDigest, UnixMillis};

use crate::access_log::{AccessLog, WorkerLog};
use crate::admission::FindKey;
use crate::clock::{Clock, Now};
use crate::deadlines::Deadlines;
use crate::explain::{Explanations, Ring};
use crate::handover::parting::Parting;
use crate::identity::tokens::Tokens;
use crate::keys::{KeySet, Layer, Lookup, Recent};
use crate::ledger::{Book, Ledger};
use crate::limits::Limiter;
use crate::reload::Reloads;
use crate::route::split::Turns;
use crate::rules::{InForce, Rules, Terms};
use crate::sync::SyncState;
use crate::telemetry::{CacheLevel, Telemetry, WorkerTelemetry};
use crate::vigil::Vigils;

/// What all workers share, made once.
#[derive(Debug)]
pub struct Shared {
    /// How it stops, once it does.
    pub parting: Parting,
    /// How reloads went.
    pub reloads: Reloads,
    /// What a reload changes.
    pub in_force: InForce,
    /// The process's clock.
    pub clock: Clock,
    /// All keys.
    pub keys: Arc<KeySet>,
    /// Where buckets and quotas are.
    pub limiter: Limiter,
    /// Usage.
    pub ledger: Arc<Ledger>,
    /// How the link to the control plane stands.
    pub sync: Arc<SyncState>,
    /// Metrics.
    pub telemetry: Arc<Telemetry>,
    /// The refusals that can be looked up.
    pub explanations: Explanations,
}

impl Shared {
    /// The newest rules: for what is no call. Calls have their own ([`crate::call::Call::rules`]).
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.in_force.rules()
    }
}

/// One worker's own.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    recent: RefCell<Recent>,
    terms: RefCell<Rc<Terms>>,
    book: Book,
    telemetry: WorkerTelemetry,
    access_log: Option<WorkerLog>,
    deadlines: Deadlines,
    vigils: Vigils,
    turns: Turns,
    tokens: Tokens,
    refusals: Arc<Ring>,
    in_flight: Cell<usize>,
}

impl Worker {
    /// A worker that has served nothing yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, access_log: &AccessLog) -> Self {
        let terms = Terms::of(&shared.in_force);
        let config = &terms.rules().config;
        Self {
            recent: RefCell::new(Recent::with_capacity(config.cache_entries)),
            book: shared.ledger.book(),
            telemetry: shared.telemetry.worker(),
            access_log: config.access_log.path.is_some().then(|| access_log.worker()),
            deadlines: Deadlines::default(),
            turns: Turns::default(),
            tokens: Tokens::default(),
            refusals: shared.explanations.ring(),
            vigils: Vigils::default(),
            in_flight: Cell::new(0),
            terms: RefCell::new(terms),
            shared,
        }
    }

    /// What all workers share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// What a call that begins now goes by: the newest rules. One comparison, unless a reload has just been.
    #[must_use]
    pub fn terms(&self) -> Rc<Terms> {
        let terms = Rc::clone(&self.terms.borrow());
        match terms.newer(&self.shared.in_force) {
            None => terms,
            Some(newer) => {
                self.terms.replace(Rc::clone(&newer));
                newer
            }
        }
    }

    /// Its counters.
    #[must_use]
    pub fn telemetry(&self) -> &WorkerTelemetry {
        &self.telemetry
    }

    /// The access log, when there is one.
    #[must_use]
    pub fn access_log(&self) -> Option<&WorkerLog> {
        self.access_log.as_ref()
    }

    /// Where it counts usage.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Time limits of its calls.
    #[must_use]
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Its calls in flight, as far as they have rights to lose.
    #[must_use]
    pub fn vigils(&self) -> &Vigils {
        &self.vigils
    }

    /// How far it is with the turns of routes that have several upstreams.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The signed identities that it has at hand.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Its refusals, to be looked up.
    #[must_use]
    pub fn refusals(&self) -> &Ring {
        &self.refusals
    }

    /// Whether it has as many calls in flight as it may by these rules.
    #[must_use]
    pub fn is_full(&self, rules: &Rules) -> bool {
        let config = &rules.config;
        self.in_flight.get() > config.bounds.concurrent_requests.div_ceil(config.workers.max(1))
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Counts a call as in flight until the guard is dropped.
    pub(crate) fn begin_call(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight {
            worker: Rc::clone(self),
            _open: self.telemetry.in_flight(),
        }
    }
}

/// A call in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    worker: Rc<Worker>,
    _open: crate::telemetry::Open,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.worker
            .in_flight
            .set(self.worker.in_flight.get().saturating_sub(1));
    }
}

impl FindKey for Worker {
    fn find_key(&self, text: &[u8]) -> Lookup {
        self.count(self.shared.keys.find(text, &mut self.recent.borrow_mut()))
    }

    fn find_digest(&self, digest: &KeyDigest) -> Lookup {
        self.count(
            self.shared
                .keys
                .find_digest(digest, &mut self.recent.borrow_mut()),
        )
    }

    fn now(&self) -> UnixMillis {
        self.shared.clock.now().unix
    }
}

impl Worker {
    fn count(&self, (answer, layer): (Lookup, Layer)) -> Lookup {
        match layer {
            Layer::Recent => self.telemetry.cache_hit(CacheLevel::Recent),
            Layer::Shared => {
                self.telemetry.cache_miss(CacheLevel::Recent);
                self.telemetry.cache_hit(CacheLevel::Memory);
            }
            Layer::Replica => {
                self.telemetry.cache_miss(CacheLevel::Recent);
                self.telemetry.cache_miss(CacheLevel::Memory);
            }
        }
        answer
    }
}
