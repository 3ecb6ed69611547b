//! One call's account: everything that is counted and logged about it, settled exactly once.
//!
//! A [`Call`] is made when the head has come and is dropped when the last byte of the answer is out or the
//! client is gone; dropping settles metrics, usage and access log. So no way of ending a call can be forgotten.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Uri};
use keyward_contract::{AccountId, CustomerId, Environment, KeyId};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::access_log::{Entry, Verdict};
use crate::admission::{Caller, Claim};
use crate::clock::Now;
use crate::cors;
use crate::deadlines::Alarm;
use crate::ledger::{Counter, CounterKey};
use crate::limits::Which;
use crate::limits::addresses::{Passed, Toll};
use crate::limits::fields::Standing;
use crate::limits::in_flight::Entered;
use crate::path::normalise;
use crate::rejection::{ACCEPTED, ANSWERED_AT_EDGE, CLIENT_GONE, Rejection};
use crate::route::Route;
use crate::rules::{Rules, Terms};
use crate::server::watch::ConnectionState;
use crate::telemetry::{CutReason, Decision, Endpoint, Finished, TierSlot, UpstreamFailure};
use crate::upstream::InHand;
use crate::vigil::{self, Vigil};
use crate::worker::{InFlight, Worker};

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

/// What only the access log needs; absent when there is none.
#[derive(Debug)]
struct Logged {
    request_id: HeaderValue,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    client: IpAddr,
    caller: Option<Who>,
}

#[derive(Clone, Copy, Debug)]
struct Who {
    account: AccountId,
    environment: Environment,
    key: KeyId,
    customer: Option<CustomerId>,
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

    /// Hands the first bytes of an attempt to the upstream. Once it has taken any, the call is accepted, whatever
    /// comes back; a repeated attempt is still one call.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the connection takes nothing now. Nothing was sent then.
    pub fn send(
        &self,
        socket: &TcpStream,
        bytes: &[u8],
        upstream: u16,
        standing: Option<&Standing>,
    ) -> io::Result<usize> {
        let now = self.started.unix.0;
        let counter = self.counter.as_ref().filter(|_| !self.is_accepted());
        let taken = match counter {
            Some(counter) => self.worker.book().send(counter, socket.as_fd(), bytes, now)?,
            None => SockRef::from(socket).send_with_flags(bytes, libc::MSG_NOSIGNAL)?,
        };
        if taken > 0 && !self.is_accepted() {
            self.upstream.set(Some(upstream));
            self.accepted(standing);
        }
        Ok(taken)
    }

    /// A machine has it in hand from now on, until it is over, refused, or in another's.
    pub fn keep_in_hand(&self, in_hand: InHand) {
        *self.in_hand.borrow_mut() = Some(in_hand);
    }

    /// The upstream's answer broke off, or went on against the rules.
    pub fn broke_off(&self) {
        self.count_body_failure();
        if let Some(in_hand) = &*self.in_hand.borrow() {
            in_hand.broke_off(self.worker.now().monotonic);
        }
    }

    /// The upstream's answer was not whole when the call's time was over.
    pub fn stalled(&self) {
        self.count_body_failure();
        if let Some(in_hand) = &*self.in_hand.borrow() {
            in_hand.stalled();
        }
    }

    fn count_body_failure(&self) {
        if let Some(upstream) = self.upstream.get() {
            let telemetry = self.worker.telemetry();
            telemetry.upstream_failed(upstream, UpstreamFailure::Body);
        }
    }

    /// A connection that carries many calls has taken it: it is accepted, whatever comes back; a repeated attempt is
    /// still one call.
    pub fn hand_over(&self, upstream: u16, standing: Option<&Standing>) {
        if self.is_accepted() {
            return;
        }
        if let Some(counter) = &self.counter {
            counter.accepted(self.started.unix.0);
        }
        self.upstream.set(Some(upstream));
        self.accepted(standing);
    }

    /// Counts a call that somebody else forwards as accepted: before the answer that says so, which then can't outlive
    /// the count, whenever the process is killed.
    pub fn allow(&self, standing: Option<&Standing>) {
        if let Some(counter) = &self.counter {
            counter.accepted(self.started.unix.0);
        }
        self.status.set(StatusCode::OK.as_u16());
        self.accepted(standing);
    }

    fn accepted(&self, standing: Option<&Standing>) {
        self.decision.set(Some(ACCEPTED));
        self.code.set("accepted");
        let customers = standing.filter(|standing| standing.which == Which::Customer);
        if let (Some(counter), Some(standing)) = (&self.counter, customers) {
            counter.bucket(standing.level.millitokens, self.started.unix.0);
        }
    }

    /// Whether an upstream may have seen it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.decision.get() == Some(ACCEPTED)
    }

    /// The upstream's answer head has come.
    pub fn answered(&self, status: StatusCode, upstream_time: Duration) {
        if let Some(vigil) = &self.vigil {
            vigil.answers();
        }
        self.came(status);
        self.upstream_time.set(upstream_time);
    }

    /// The upstream has agreed to another protocol. From now on the tunnel sees to it that it ends with its rights.
    pub fn switched(&self, upstream_time: Duration) {
        self.came(StatusCode::SWITCHING_PROTOCOLS);
        self.upstream_time.set(upstream_time);
    }

    fn came(&self, status: StatusCode) {
        self.status.set(status.as_u16());
        if let Some(in_hand) = &*self.in_hand.borrow() {
            in_hand.answered(status);
        }
    }

    /// Whether it is to end because rights are gone.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.vigil.as_ref().and_then(Vigil::cut).is_some()
    }

    /// The gateway itself answered, without a refusal.
    pub fn answered_at_edge(&self, status: u16) {
        self.status.set(status);
        self.decision.set(Some(ANSWERED_AT_EDGE));
        self.code.set("answered");
    }

    /// It was refused. A call that was already accepted stays accepted; only its answer is ours.
    pub fn refused(&mut self, rejection: &Rejection, status: u16) {
        // However slowly the client reads its refusal, others may come in.
        self.place = None;
        self.vigil = None;
        self.in_hand = RefCell::default();
        self.status.set(status);
        self.code.set(rejection.code());
        if self.decision.get() == Some(ACCEPTED) {
            return;
        }
        if let Some(toll) = self.toll.take() {
            toll.give_back();
        }
        self.decision.set(Some(rejection.decision()));
        let Some(counter) = &self.counter else { return };
        let now = self.started.unix.0;
        match rejection {
            Rejection::RateLimited { standing, .. } => {
                counter.rate_limited(now);
                if standing.which == Which::Customer {
                    counter.bucket(standing.level.millitokens, now);
                }
            }
            Rejection::QuotaExceeded(_) => counter.quota_refused(now),
            Rejection::InvalidApiKey
            | Rejection::ExpiredApiKey
            | Rejection::AccountSuspended
            | Rejection::IpNotAllowed
            | Rejection::CustomerKeyMissing
            | Rejection::CustomerKeyRefused => counter.auth_refused(now),
            Rejection::InvalidInput(_)
            | Rejection::UriTooLong
            | Rejection::HeadTooLarge
            | Rejection::VersionNotSupported
            | Rejection::RouteNotFound
            | Rejection::MethodNotAllowed(_)
            | Rejection::Unauthorized
            | Rejection::PayloadTooLarge(_)
            | Rejection::UnsupportedMediaType
            | Rejection::Overloaded(_)
            | Rejection::UpstreamUnavailable
            | Rejection::BadGateway(_)
            | Rejection::UpstreamTimeout
            | Rejection::Internal => {}
        }
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

    fn settle(&mut self) {
        let duration = self.worker.now().monotonic.saturating_sub(self.started.monotonic);
        let (bytes_in, bytes_out, status) = (self.bytes_in.get(), self.bytes_out.get(), self.status.get());
        let decision = self.decision.get();
        if decision == Some(ACCEPTED)
            && let Some(counter) = &self.counter
        {
            let latency_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            counter.answered(status, bytes_in, bytes_out, latency_us);
        }
        if decision == Some(ACCEPTED)
            && let Some(reason) = self.cut.get()
        {
            self.worker.telemetry().cut(reason);
            self.code.set(vigil::code(reason));
        }
        if decision == Some(ACCEPTED)
            && let Some(limit) = self.would_limit.get()
        {
            self.worker.telemetry().would_limit(self.tier.get(), limit);
            if let Some(counter) = &self.counter {
                counter.would_limit();
            }
        }
        self.count(decision, duration);
        self.log(duration);
    }

    fn count(&self, decision: Option<u8>, duration: Duration) {
        let decision = Decision(decision.unwrap_or(CLIENT_GONE));
        if let Some(endpoint) = self.endpoint {
            self.worker.telemetry().checked(endpoint, decision);
            return;
        }
        self.worker.telemetry().finished(&Finished {
            route: self.route_label(),
            tier: self.tier.get(),
            status: self.status.get(),
            decision,
            duration,
            overhead: duration.saturating_sub(self.upstream_time.get()),
            upstream: self.upstream.get(),
            upstream_time: self.upstream_time.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
        });
    }

    fn log(&mut self, duration: Duration) {
        let (Some(log), Some(writer)) = (self.log.take(), self.worker.access_log()) else {
            return;
        };
        let is_accepted = self.decision.get() == Some(ACCEPTED);
        let verdict = if is_accepted {
            Verdict::Accepted
        } else {
            Verdict::Refused
        };
        if !writer.wants(self.rules().sampling, verdict) {
            return;
        }
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let routes = self.rules().routes.routes();
        writer.log(Entry {
            time: self.started.unix,
            request_id: text(&log.request_id),
            method: log.method,
            host: log.host.as_ref().map(text).unwrap_or_default(),
            path: normalise(log.uri.path())
                .map(|path| path.into_text().into_owned())
                .unwrap_or_default(),
            route: self
                .route
                .get()
                .and_then(|route| Some(Arc::clone(&routes.get(usize::from(route.index))?.name))),
            status: self.status.get(),
            code: self.code.get(),
            would_limit: self.would_limit.get().map(Which::name),
            account: log.caller.map(|who| who.account),
            environment: log.caller.map(|who| who.environment),
            key_id: log.caller.map(|who| who.key),
            customer: log.caller.and_then(|who| who.customer),
            client: log.client,
            endpoint: self.endpoint.map(Endpoint::label),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            duration,
            upstream_time: self.upstream.get().map(|_| self.upstream_time.get()),
        });
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
