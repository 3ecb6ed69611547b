//! One call's account: everything that is counted and logged about it, settled exactly once.
//!
//! A [`Call`] is made when the head has come and is dropped when the last byte of the answer is out or the
//! client is gone; dropping settles metrics, usage and access log. So no way of ending a call can be forgotten.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;

use crate::admission::{Caller, Claim};
use crate::clock::Now;
use crate::cors;
use crate::deadlines::Alarm;
use crate::ledger::{Counter, CounterKey};
use crate::limits::Which;
use crate::limits::addresses::{Passed, Toll};
use crate::limits::in_flight::Entered;
use crate::route::Route;
use crate::rules::{Rules, Terms};
use crate::server::watch::ConnectionState;
use crate::telemetry::{CutReason, Endpoint, TierSlot};
use crate::upstream::InHand;
use crate::vigil::{self, Vigil};
use crate::worker::{InFlight, Worker};

mod outcome;
mod settlement;

use settlement::{Logged, Who};

/// What nginx calls 499: the client went away before the answer was out.
pub const CLIENT_CLOSED: u16 = 499;

/// One call, from its head to its last byte.
#[derive(Debug)]
pub struct Call {
    worker: Rc<Worker>,
    _in_flight: InFlight,
    started: Now,
    /// What it goes by from its beginning to its end.
    terms: Rc<Terms>,
    route: Cell<Option<RouteTaken>>,
    tier: Cell<TierSlot>,
    status: Cell<u16>,
    decision: Cell<Option<u8>>,
    /// `accepted`, or the code of the refusal, for people.
    code: Cell<&'static str>,
    aim: Cell<Option<usize>>,
    /// Its label in metrics.
    upstream: Cell<Option<u16>>,
    upstream_time: Cell<Duration>,
    /// The machine that has it in hand, where something goes by that.
    in_hand: RefCell<Option<InHand>>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    would_limit: Cell<Option<Which>>,
    /// Its place among the calls in flight on its route, where that is bounded.
    place: Option<Entered>,
    /// What it took from the bucket of its client's address.
    toll: Option<Toll>,
    counter: Option<Rc<Counter>>,
    alarm: Option<Alarm>,
    /// Over its rights, while it has any to lose.
    vigil: Option<Vigil>,
    cut: Cell<Option<CutReason>>,
    /// Who was asked, where somebody else forwards it.
    endpoint: Option<Endpoint>,
    /// Who may read its answer, on routes that say so.
    cors: Option<Box<cors::Grant>>,
    log: Option<Box<Logged>>,
}

/// Which route a call takes: its index in the rules that it goes by, and its label.
#[derive(Clone, Copy, Debug)]
struct RouteTaken {
    index: u16,
    label: u16,
    /// What it costs here: whoever asks about a call may set it.
    cost: u32,
}

impl Call {
    /// A call that has just begun.
    #[must_use]
    pub fn begin(worker: &Rc<Worker>, started: Now) -> Self {
        Self {
            worker: Rc::clone(worker),
            _in_flight: worker.begin_call(),
            started,
            terms: worker.terms(),
            route: Cell::new(None),
            tier: Cell::new(TierSlot::NONE),
            status: Cell::new(CLIENT_CLOSED),
            decision: Cell::new(None),
            code: Cell::new("CLIENT_GONE"),
            aim: Cell::new(None),
            upstream: Cell::new(None),
            upstream_time: Cell::new(Duration::ZERO),
            in_hand: RefCell::default(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            would_limit: Cell::new(None),
            place: None,
            toll: None,
            counter: None,
            alarm: None,
            vigil: None,
            cut: Cell::new(None),
            endpoint: None,
            cors: None,
            log: None,
        }
    }

    /// Somebody else forwards it, and asks here whether it may.
    pub fn is_asked_about(&mut self, endpoint: Endpoint) {
        self.endpoint = Some(endpoint);
    }

    /// When it began.
    #[must_use]
    pub fn started(&self) -> Now {
        self.started
    }

    /// The worker that serves it.
    #[must_use]
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// What it goes by, whatever was reloaded since it began.
    #[must_use]
    pub fn terms(&self) -> &Rc<Terms> {
        &self.terms
    }

    /// The rules it goes by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        self.terms.rules()
    }

    /// Keeps what the access log will say, when there is one.
    pub fn describe(&mut self, parts: &http::request::Parts, request_id: &HeaderValue, client: IpAddr) {
        if self.worker.access_log().is_some() {
            self.log = Some(Box::new(Logged {
                request_id: request_id.clone(),
                method: parts.method.clone(),
                uri: parts.uri.clone(),
                host: parts.headers.get(http::header::HOST).cloned(),
                client,
                caller: None,
            }));
        }
    }

    /// Which route it takes.
    pub fn set_route(&self, route: &Route) {
        self.route.set(Some(RouteTaken {
            index: route.index,
            label: route.numbers.label,
            cost: route.cost,
        }));
    }

    /// What its route is called in metrics and usage.
    fn route_label(&self) -> Option<u16> {
        self.route.get().map(|route| route.label)
    }

    /// The route that it takes, when there is one.
    #[must_use]
    pub fn route(&self) -> Option<u16> {
        self.route.get().map(|route| route.index)
    }

    /// The tokens that it costs on its route, when there is one.
    #[must_use]
    pub fn cost(&self) -> Option<u32> {
        self.route.get().map(|route| route.cost)
    }

    /// Who asks about it, when somebody else forwards it.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.endpoint
    }

    /// Which upstream it is to go to, by its place in the call's rules.
    pub fn aim(&self, upstream: usize) {
        self.aim.set(Some(upstream));
    }

    /// The upstream that it was to go to, when it came so far.
    #[must_use]
    pub fn aimed_at(&self) -> Option<usize> {
        self.aim.get()
    }

    /// Who may read its answer.
    pub fn share(&mut self, grant: cors::Grant) {
        self.cors = Some(Box::new(grant));
    }

    /// Who may read its answer, where the route says anything of it.
    #[must_use]
    pub fn grant(&self) -> Option<&cors::Grant> {
        self.cors.as_deref()
    }

    /// Who calls, and where that is counted.
    pub fn identify(&mut self, caller: &Caller) {
        self.recognise(caller);
        self.counter = Some(counter(
            &self.worker,
            caller,
            self.route_label().unwrap_or_default(),
            self.started,
        ));
    }

    /// Who calls, without usage: for calls that are free of charge.
    pub fn recognise(&mut self, caller: &Caller) {
        self.tier.set(caller.policy().tier_slot);
        if let Some(log) = &mut self.log {
            log.caller = Some(Who {
                account: caller.account().id(),
                environment: caller.environment(),
                key: caller.key().record.id,
                customer: caller.customer().map(|customer| customer.id),
            });
        }
    }

    /// From here on it ends when what it was let in by no longer holds; see [`crate::vigil`].
    pub fn watch(&mut self, claim: Claim, carrier: &Rc<ConnectionState>) {
        let standing = vigil::Standing {
            claim,
            terms: Rc::clone(&self.terms),
            route: self.route.get().map_or(u16::MAX, |route| route.index),
        };
        let since = self.started.monotonic;
        self.vigil = Some(Vigil::keep(&self.worker, standing, carrier, since));
    }

    /// Runs `work` unless the call is cut off meanwhile; then says why.
    ///
    /// # Errors
    /// Whose rights are gone.
    pub async fn unless_cut<F: Future>(&self, mut work: Pin<&mut F>) -> Result<F::Output, CutReason> {
        std::future::poll_fn(|context| match self.vigil.as_ref().and_then(Vigil::cut) {
            Some(reason) => {
                self.cut.set(Some(reason));
                Poll::Ready(Err(reason))
            }
            None => work.as_mut().poll(context).map(Ok),
        })
        .await
    }

    /// Takes its place among the calls in flight on its route, until it is over or refused.
    pub fn enter(&mut self, entered: Entered) {
        if let Entered::Beyond(_) = entered {
            self.would_limit(Which::Route);
        }
        self.place = Some(entered);
    }

    /// Keeps what it took from the bucket of its client's address, in case it is refused before an upstream has it.
    pub fn pass(&mut self, passed: Passed) {
        match passed {
            Passed::Unbounded => {}
            Passed::Paid(toll) => self.toll = Some(toll),
            Passed::Beyond => self.would_limit(Which::Address),
        }
    }

    /// A limit in shadow mode would have refused it. Of several the first is told.
    pub fn would_limit(&self, limit: Which) {
        if self.would_limit.get().is_none() {
            self.would_limit.set(Some(limit));
        }
    }

    /// Whether it is to end because rights are gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.vigil.as_ref().and_then(Vigil::cut).is_some()
    }

    /// Bytes of the request body went on.
    pub fn add_bytes_in(&self, bytes: u64) {
        self.bytes_in.set(self.bytes_in.get() + bytes);
    }

    /// Whether it has gone on for longer than it may; if not, the task is woken when it has.
    pub fn is_late(&mut self, deadline: Duration, context: &std::task::Context<'_>) -> bool {
        let worker = &self.worker;
        let alarm = self.alarm.get_or_insert_with(|| Alarm::set(worker, deadline));
        alarm.is_over(context.waker())
    }

    /// Bytes of the answer went out.
    pub fn add_bytes_out(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get() + bytes as u64);
    }

    /// The answer broke off. When it was us who ended it, the status that the client got stays.
    pub fn cut_short(&self) {
        match self.vigil.as_ref().and_then(Vigil::cut) {
            Some(reason) => self.cut.set(Some(reason)),
            None => self.status.set(CLIENT_CLOSED),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.settle();
    }
}

/// The usage counter of this caller on this route in this hour.
fn counter(worker: &Worker, caller: &Caller, route: u16, now: Now) -> Rc<Counter> {
    worker.book().counter(CounterKey {
        account: caller.account().id(),
        environment: caller.environment(),
        customer: caller.customer().map(|customer| customer.id),
        account_key: caller.account_key().map(|key| key.record.id),
        customer_key: caller.customer_key().map(|key| key.record.id),
        route,
        hour: now.unix.hour(),
    })
}
