//! One worker's ways to the machines of an upstream, and the way that a call takes.
//!
//! A [`Destination`] is chosen once for a call, by the upstream's `balance`, and turns to another machine when one fails. As long as all machines are well,
//! choosing is an addition (in turn), two random numbers (by load) or a few nanoseconds a machine (by a hash); nothing allocates.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use keyward_config::{Balance, UpstreamProtocol};

use super::balance::{Seeker, in_turn};
use super::fleet::{Machine, Machines};
use super::pool::EndpointPool;
use super::retry::CallCount;
use crate::random;

/// One worker's connections to every machine of an upstream.
#[derive(Debug)]
pub struct Lanes {
    upstream: u16,
    machines: Arc<Machines>,
    pools: Box<[Rc<EndpointPool>]>,
    /// Whose turn it is.
    next: Cell<usize>,
    /// Where calls are counted that repeats are a share of.
    calls: Option<Arc<CallCount>>,
}

impl Lanes {
    /// `upstream` is its label in metrics; `pool` makes or finds the connections to a machine.
    pub(super) fn new(
        upstream: u16,
        machines: &Arc<Machines>,
        pool: impl FnMut(&Arc<Machine>) -> Rc<EndpointPool>,
    ) -> Self {
        Self {
            upstream,
            pools: machines.all().iter().map(pool).collect(),
            next: Cell::new(0),
            calls: machines.budget().map(|budget| budget.worker()),
            machines: Arc::clone(machines),
        }
    }

    /// Chooses where a call goes; `None` when no machine may be used.
    pub(super) fn destination(self: &Rc<Self>, seeker: &Seeker<'_>) -> Option<Destination> {
        let may = self.machines.usable();
        let (place, hash) = match self.machines.balance() {
            Balance::RoundRobin => (self.turn(self.next.get(), may), None),
            Balance::LeastRequests => (self.machines.by_load(random::next(), may), None),
            Balance::Hash(by) => {
                let hash = seeker.hash(by);
                (self.machines.by_hash(hash, may), Some(hash))
            }
        };
        Some(Destination {
            lanes: Rc::clone(self),
            place: place?,
            hash,
            tried: Vec::new(),
        })
    }

    /// The next in turn; who comes after it is next.
    fn turn(&self, from: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
        let place = in_turn(from, self.pools.len(), may)?;
        self.next.set(place + 1);
        Some(place)
    }

    fn machine(&self, place: usize) -> Option<&Arc<Machine>> {
        self.machines.all().get(place)
    }

    /// The connections to each machine.
    pub(super) fn pools(&self) -> &[Rc<EndpointPool>] {
        &self.pools
    }

    /// The upstream's label in metrics.
    pub(super) fn upstream(&self) -> u16 {
        self.upstream
    }

    pub(super) fn machines(&self) -> &Machines {
        &self.machines
    }

    /// Counts a call, where something goes by their number.
    pub(super) fn count_call(&self, now: Duration) {
        if let Some(calls) = &self.calls {
            calls.add(now);
        }
    }

    /// The machine at this place failed a call.
    pub(super) fn failed(&self, place: usize, now: Duration) {
        if let Some(machine) = self.machine(place) {
            self.machines.failed(machine, now);
        }
    }
}

/// Where a call goes, and where it has been.
#[derive(Debug)]
pub struct Destination {
    lanes: Rc<Lanes>,
    place: usize,
    hash: Option<u64>,
    /// Machines that failed it.
    tried: Vec<usize>,
}

impl Destination {
    /// The machine's authority, for a request without `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.lanes
            .machine(self.place)
            .map_or("", |machine| machine.authority())
    }

    /// What is spoken there.
    #[must_use]
    pub fn protocol(&self) -> UpstreamProtocol {
        let pool = self.pool();
        pool.map_or(UpstreamProtocol::Http1, |pool| pool.protocol())
    }

    pub(super) fn lanes(&self) -> &Rc<Lanes> {
        &self.lanes
    }

    /// The machine's place among those of the upstream.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn pool(&self) -> Option<&Rc<EndpointPool>> {
        self.lanes.pools.get(self.place)
    }

    /// Turns to a machine that has not failed this call; `false` when there is none.
    pub(super) fn turn(&mut self) -> bool {
        self.tried.push(self.place);
        let machines = &self.lanes.machines;
        let usable = machines.usable();
        let may = |place| usable(place) && !self.tried.contains(&place);
        let next = match (self.hash, machines.balance()) {
            (Some(hash), _) => machines.by_hash(hash, may),
            (None, Balance::LeastRequests) => machines.by_load(random::next(), may),
            (None, _) => self.lanes.turn(self.lanes.next.get(), may),
        };
        if let Some(next) = next {
            self.place = next;
        }
        next.is_some()
    }

    /// The machine failed the call.
    pub(super) fn failed(&self, now: Duration) {
        self.lanes.failed(self.place, now);
    }

    /// The machine has the call in hand; `None` where nothing goes by it.
    pub(super) fn take_in_hand(&self) -> Option<InHand> {
        let is_counted = *self.lanes.machines.balance() == Balance::LeastRequests;
        let machine = self.lanes.machine(self.place)?;
        if is_counted {
            machine.add_call();
        }
        (is_counted || self.lanes.machines.passive().is_some()).then(|| InHand {
            lanes: Rc::clone(&self.lanes),
            place: self.place,
            is_counted,
            is_well: Cell::new(false),
        })
    }
}

/// A call that a machine has in hand, until this is dropped.
#[derive(Debug)]
pub struct InHand {
    lanes: Rc<Lanes>,
    place: usize,
    is_counted: bool,
    /// It was answered, and nothing has gone wrong since.
    is_well: Cell<bool>,
}

impl InHand {
    /// The head of the answer that the client gets has come.
    pub fn answered(&self, status: StatusCode) {
        self.is_well.set(!self.lanes.machines.is_failure(status));
    }

    /// The answer broke off.
    pub fn broke_off(&self, now: Duration) {
        self.is_well.set(false);
        self.lanes.failed(self.place, now);
    }

    /// The answer did not come to its end in time.
    pub fn stalled(&self) {
        self.is_well.set(false);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let Some(machine) = self.lanes.machine(self.place) else {
            return;
        };
        if self.is_counted {
            machine.end_call();
        }
        if self.is_well.get() {
            machine.succeeded();
        }
    }
}
