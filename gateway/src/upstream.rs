//! Forwarding a permitted call: the worker's own connections to the upstreams.
//!
//! Every worker keeps its own idle connections, so nothing is shared and nothing is locked. [`Pools::forward`]
//! takes a [`Permit`]: forwarding without one can't be written. A pooled connection that turns out to be closed
//! is no error of the call: what was never written is sent on another, and a call without a body whose method
//! is idempotent (RFC 9110 §9.2.2) once more even when it may have been written.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use keyward_config::{Endpoint, Timeouts, Upstream, UpstreamProtocol};
use tokio::net::TcpStream;

use crate::body::{BodyFate, BodyFault, RequestBody};
use crate::limits::Permit;
use crate::rejection::Rejection;
use crate::rules::Rules;
use crate::telemetry::UpstreamFailure;
use crate::worker::Worker;

pub mod answer;
pub mod exchange;
pub mod framing;
pub mod head;
pub mod http2;
pub mod pool;
pub mod pump;
pub mod request;
pub mod tls;
pub mod trailers;
pub mod wire;

use answer::{AnswerStream, Outgoing};
use exchange::Failure;
use head::{AnswerHead, Question};
pub use pool::Connection;
use pool::{Connected, EndpointPool, Line, Unreachable};
use pump::BodyFraming;
use request::RequestHead;
use tls::UpstreamTls;

/// Attempts of one call: more stale connections than this in a row are no accident.
const MAX_ATTEMPTS: usize = 8;

/// Buffers for heads that a worker keeps.
const MAX_SPARE_BUFFERS: usize = 64;

/// One worker's connections to every upstream.
#[derive(Debug)]
pub struct Pools {
    upstreams: Vec<Endpoints>,
    timeouts: Timeouts,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// A request as it goes on.
#[derive(Debug)]
pub struct Onward<'a> {
    /// Where it goes.
    pub destination: Destination,
    /// Its method.
    pub method: &'a Method,
    /// Its head as it is sent.
    pub head: RequestHead,
    /// Its body.
    pub body: RequestBody,
    /// How the body is framed in the head.
    pub framing: BodyFraming,
    /// The protocol that it asks to switch to.
    pub upgrade: Option<HeaderValue>,
    /// How the body fares.
    pub fate: Rc<BodyFate>,
    /// When the call began, monotonic: deciding takes too little time to read the clock again.
    pub began: Duration,
    /// The most that the whole call may take.
    pub timeout: Duration,
}

/// An upstream's endpoints, taken in turn.
#[derive(Debug)]
struct Endpoints {
    name: String,
    label: u16,
    pools: Rc<[Rc<EndpointPool>]>,
    next: Cell<usize>,
}

/// The endpoints of one call, in the order in which they are to be tried.
#[derive(Clone, Debug)]
pub struct Destination {
    endpoints: Rc<[Rc<EndpointPool>]>,
    first: usize,
    /// Its label in metrics.
    upstream: u16,
}

impl Destination {
    /// The authority of the first, for a request without `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.in_order().next().map_or("", |endpoint| endpoint.authority())
    }

    /// What is spoken there.
    #[must_use]
    pub fn protocol(&self) -> UpstreamProtocol {
        let first = self.endpoints.first();
        first.map_or(UpstreamProtocol::Http1, |endpoint| endpoint.protocol())
    }

    fn in_order(&self) -> impl Iterator<Item = &Rc<EndpointPool>> {
        let (before, from) = self
            .endpoints
            .split_at_checked(self.first)
            .unwrap_or((&[], &self.endpoints));
        from.iter().chain(before)
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answered {
    /// The answer's head.
    pub head: AnswerHead,
    /// Its body.
    pub stream: Box<AnswerStream>,
    /// How long the upstream took to answer the head.
    pub took: Duration,
}

/// A call that no upstream answered.
#[derive(Debug)]
pub struct Unanswered {
    /// What the client is told.
    pub rejection: Rejection,
    /// Whether any upstream may have seen it.
    pub reach: Reach,
}

impl Unanswered {
    /// For this reason, having come as far as it has.
    pub fn new(rejection: Rejection, departure: &impl Departure) -> Self {
        let reach = if departure.has_departed() {
            Reach::Perhaps
        } else {
            Reach::Never
        };
        Self { rejection, reach }
    }
}

/// Whether an upstream may have seen a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None has: what was charged is to be given back.
    Never,
    /// One may have: it is accepted and counted.
    Perhaps,
}

/// The caller's side of a request that leaves: it has the last word, and counts the call as accepted where it goes. There is
/// one way for each kind of line, and a call takes the one of its upstream.
pub trait Departure {
    /// The last moment to refuse; called before every attempt to write.
    ///
    /// # Errors
    /// When the permit no longer holds.
    fn depart(&self) -> Result<(), Rejection>;

    /// For a line of its own (HTTP/1.1): hands the first bytes of an attempt, in clear text or sealed, to the socket; when
    /// it takes any, the call counts as accepted, as one act with that.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the connection takes nothing now. Nothing was sent then.
    fn send(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize>;

    /// For a line that many share (HTTP/2): the connection has taken the request and will write it among others'. The
    /// call counts as accepted from now on. To be called in the turn in which it was taken, so that nothing of it was
    /// written before; a kill before the connection's turn, which is next, leaves one call counted that never left.
    fn hand_over(&self);

    /// Whether a line took any of it, in this attempt or an earlier one.
    fn has_departed(&self) -> bool;
}

type MakePool<'a> = dyn Fn(&Upstream, Option<&Arc<UpstreamTls>>, &Endpoint) -> Rc<EndpointPool> + 'a;

impl Pools {
    /// Empty pools for the upstreams of these rules.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self::with(rules, &|upstream, tls, endpoint| {
            Rc::new(EndpointPool::new(endpoint, upstream, tls))
        })
    }

    /// Pools for what upstreams are after a reload. An endpoint that the upstream of the same name had already, and that is
    /// spoken to in the same way, keeps its connections; the idle ones of all others are closed, and those in use when
    /// their calls are over.
    #[must_use]
    pub fn succeeded_by(&self, rules: &Rules) -> Self {
        let taken = RefCell::new(Vec::new());
        let next = Self::with(rules, &|upstream, tls, endpoint| {
            let mut before = self.upstreams.iter().filter(|known| known.name == upstream.name);
            let kept = before.find_map(|known| {
                let mut pools = known.pools.iter();
                pools.find(|pool| pool.is_of(upstream, endpoint))
            });
            let pool = kept.map_or_else(
                || Rc::new(EndpointPool::new(endpoint, upstream, tls)),
                |kept| {
                    kept.adopt(tls);
                    Rc::clone(kept)
                },
            );
            taken.borrow_mut().push(Rc::clone(&pool));
            pool
        });
        let taken = taken.into_inner();
        for pool in self.upstreams.iter().flat_map(|known| known.pools.iter()) {
            if !taken.iter().any(|kept| Rc::ptr_eq(kept, pool)) {
                pool.retire();
            }
        }
        next
    }

    fn with(rules: &Rules, pool: &MakePool<'_>) -> Self {
        let endpoints = |(index, upstream): (usize, &Upstream)| {
            let tls = rules.upstream_tls.get(index).and_then(Option::as_ref);
            let pools = upstream.endpoints.iter();
            Endpoints {
                name: upstream.name.clone(),
                label: rules.upstream_label(index),
                pools: pools.map(|endpoint| pool(upstream, tls, endpoint)).collect(),
                next: Cell::new(0),
            }
        };
        let upstreams = &rules.config.upstreams;
        Self {
            upstreams: upstreams.iter().enumerate().map(endpoints).collect(),
            timeouts: rules.config.timeouts,
            spare: RefCell::default(),
        }
    }

    /// Chooses where the next call to an upstream goes: its endpoints in turn.
    #[must_use]
    pub fn destination(&self, upstream: usize) -> Option<Destination> {
        let endpoints = self.upstreams.get(upstream)?;
        let count = endpoints.pools.len();
        let first = endpoints.next.get();
        endpoints.next.set(if first + 1 < count { first + 1 } else { 0 });
        (count > 0).then(|| Destination {
            endpoints: Rc::clone(&endpoints.pools),
            first,
            upstream: endpoints.label,
        })
    }

    /// An empty head, in the form that is read there.
    #[must_use]
    pub fn head(&self, destination: &Destination) -> RequestHead {
        match destination.endpoints.first() {
            Some(endpoint) => endpoint.head(|| self.buffer()),
            None => RequestHead::Http1(self.buffer()),
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.spare
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(2_048))
    }

    fn keep_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        // One that a large body has passed through would hold its memory for ever.
        if spare.len() < MAX_SPARE_BUFFERS && buffer.capacity() <= 16 * 1_024 {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Sends a permitted call to its destination and waits for the head of the answer.
    ///
    /// # Errors
    /// Rows 13, 15 and 16; 400 for a body that turns out malformed.
    pub async fn forward(
        &self,
        worker: &Worker,
        _permit: &Permit,
        onward: Onward<'_>,
        departure: &impl Departure,
    ) -> Result<Answered, Unanswered> {
        let began = onward.began;
        let limit = self.timeouts.response_headers.min(onward.timeout);
        let (fate, upstream) = (Rc::clone(&onward.fate), onward.destination.upstream);
        let (mut deadline, last) = (began + limit, began + onward.timeout);
        let mut sent = 0;
        let mut attempts = pin!(self.attempts(worker, onward, departure));
        loop {
            match worker.deadlines().until(deadline, attempts.as_mut()).await {
                Some(Ok((head, stream))) => {
                    let took = worker.now().monotonic.saturating_sub(began);
                    return Ok(Answered { head, stream, took });
                }
                Some(Err(rejection)) => return Err(Unanswered::new(rejection, departure)),
                // The upstream's time begins when it has the whole request, and a long one may take longer to send.
                None if fate.bytes() > sent && deadline < last => {
                    sent = fate.bytes();
                    deadline = (deadline + limit).min(last);
                }
                None => return Err(Unanswered::new(late(worker, upstream, &fate), departure)),
            }
        }
    }

    async fn attempts(
        &self,
        worker: &Worker,
        onward: Onward<'_>,
        departure: &impl Departure,
    ) -> Result<(AnswerHead, Box<AnswerStream>), Rejection> {
        let Onward {
            destination,
            method,
            head,
            body,
            framing,
            upgrade,
            fate,
            ..
        } = onward;
        let question = Question {
            method,
            upgrade: upgrade.as_ref(),
        };
        let request = Outgoing::new(head, body, framing);
        let mut request = request.ok_or(Rejection::InvalidInput("the target can't be forwarded"))?;
        for _ in 0..MAX_ATTEMPTS {
            let opened = self.open(worker, &destination).await;
            let Opened {
                line,
                endpoint,
                is_pooled,
            } = opened.ok_or(Rejection::UpstreamUnavailable)?;
            departure.depart()?;
            let failure = match request.exchange(line, question, departure).await {
                Ok((head, arriving)) => {
                    let unfinished = if request.is_over() {
                        request
                            .into_buffer()
                            .into_iter()
                            .for_each(|buffer| self.keep_buffer(buffer));
                        None
                    } else {
                        Some(request)
                    };
                    // Boxed here, because it is handed on through many hands.
                    let stream = AnswerStream::new(arriving, Rc::clone(endpoint), &head, unfinished);
                    let stream = Box::new(stream);
                    return Ok((head, stream));
                }
                Err(failure) => failure,
            };
            let may_repeat = match failure {
                Failure::Unsent => is_pooled,
                Failure::BrokenOff => is_pooled && method.is_idempotent() && request.can_rewind(),
                Failure::Refused => request.can_rewind(),
                Failure::CutShort | Failure::Malformed(_) | Failure::Body(_) => false,
            };
            if !may_repeat {
                return Err(explain(worker, destination.upstream, &failure, &fate));
            }
            request.rewind();
        }
        Err(Rejection::UpstreamUnavailable)
    }

    /// A connection to the first endpoint in order that can be reached.
    async fn open<'d>(&self, worker: &Worker, destination: &'d Destination) -> Option<Opened<'d>> {
        for endpoint in destination.in_order() {
            if let Some(line) = endpoint.idle() {
                return Some(Opened {
                    line,
                    endpoint,
                    is_pooled: true,
                });
            }
            if let Some(line) = self.connect(worker, endpoint, destination.upstream).await {
                return Some(Opened {
                    line,
                    endpoint,
                    is_pooled: false,
                });
            }
        }
        None
    }

    async fn connect(&self, worker: &Worker, endpoint: &Rc<EndpointPool>, upstream: u16) -> Option<Line> {
        match endpoint.connect(self.timeouts.connect).await {
            Ok(Connected { line, opened }) => {
                for _ in 0..opened {
                    worker.telemetry().upstream_connected(upstream);
                }
                Some(line)
            }
            Err(unreachable) => {
                worker
                    .telemetry()
                    .upstream_failed(upstream, unreachable.failure());
                let authority = endpoint.authority();
                // What nobody but the operator can mend, and he must know of.
                let is_settled = matches!(unreachable, Unreachable::Tls(_) | Unreachable::NotHttp2(_));
                if is_settled && endpoint.is_to_tell() {
                    tracing::warn!(reason = %unreachable, upstream = authority, "can't speak with an upstream");
                } else {
                    tracing::debug!(reason = %unreachable, upstream = authority, "can't connect");
                }
                None
            }
        }
    }
}

/// A connection for one attempt.
struct Opened<'d> {
    line: Line,
    endpoint: &'d Rc<EndpointPool>,
    is_pooled: bool,
}

/// Whose fault it is that the answer is not there in time.
fn late(worker: &Worker, upstream: u16, fate: &BodyFate) -> Rejection {
    if fate.is_awaited() {
        // A client that is slow to send must not look like a slow upstream.
        return Rejection::InvalidInput("the request body did not arrive in time");
    }
    worker
        .telemetry()
        .upstream_failed(upstream, UpstreamFailure::ResponseTimeout);
    Rejection::UpstreamTimeout
}

fn explain(worker: &Worker, upstream: u16, failure: &Failure, fate: &BodyFate) -> Rejection {
    let failed = |kind| worker.telemetry().upstream_failed(upstream, kind);
    match failure {
        Failure::Unsent => {
            failed(UpstreamFailure::Closed);
            Rejection::UpstreamUnavailable
        }
        Failure::Refused => {
            failed(UpstreamFailure::Refused);
            Rejection::UpstreamUnavailable
        }
        Failure::BrokenOff | Failure::CutShort => {
            failed(UpstreamFailure::Closed);
            Rejection::BadGateway("the service broke off before it answered")
        }
        Failure::Malformed(malformed) => {
            failed(UpstreamFailure::Malformed);
            Rejection::BadGateway(malformed.0)
        }
        Failure::Body(BodyFault::Client) => {
            Rejection::InvalidInput("the request body is malformed or broke off")
        }
        Failure::Body(BodyFault::TooLarge) => Rejection::PayloadTooLarge(fate.bound()),
    }
}
