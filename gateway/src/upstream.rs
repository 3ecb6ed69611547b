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
use std::time::Duration;

use http::{HeaderValue, Method};
use keyward_config::{Endpoint, Timeouts, Upstream};
use tokio::net::TcpStream;

use crate::body::{BodyFate, BodyFault, RequestBody};
use crate::limits::Permit;
use crate::rejection::Rejection;
use crate::telemetry::UpstreamFailure;
use crate::worker::Worker;

pub mod exchange;
pub mod framing;
pub mod head;
pub mod pool;
pub mod pump;

use exchange::{AnswerStream, Failure, exchange};
use head::{AnswerHead, Question};
pub use pool::Connection;
use pool::EndpointPool;
use pump::{BodyFraming, Pump};

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
    /// Its head as it is written.
    pub head: Vec<u8>,
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
    pools: Rc<[Rc<EndpointPool>]>,
    next: Cell<usize>,
}

/// The endpoints of one call, in the order in which they are to be tried.
#[derive(Clone, Debug)]
pub struct Destination {
    endpoints: Rc<[Rc<EndpointPool>]>,
    first: usize,
    upstream: u16,
}

impl Destination {
    /// The authority of the first, for a request without `Host`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.in_order().next().map_or("", |endpoint| endpoint.authority())
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

/// The caller's side of a request that leaves: it has the last word, and hands over the first bytes.
pub trait Departure {
    /// The last moment to refuse; called before every attempt to write.
    ///
    /// # Errors
    /// When the permit no longer holds.
    fn depart(&self) -> Result<(), Rejection>;

    /// Hands the first bytes of an attempt to the connection; when it takes any, the call counts as accepted.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the connection takes nothing now. Nothing was sent then.
    fn send(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize>;

    /// Whether a connection took any bytes, in this attempt or an earlier one.
    fn has_departed(&self) -> bool;
}

impl Pools {
    /// Empty pools for these upstreams.
    #[must_use]
    pub fn new(upstreams: &[Upstream], timeouts: Timeouts) -> Self {
        Self::with(upstreams, timeouts, &|_, endpoint| {
            Rc::new(EndpointPool::new(endpoint))
        })
    }

    /// Pools for what upstreams are after a reload. An endpoint that the upstream of the same name had already keeps its
    /// connections; the idle ones of all others are closed, and those in use when their call is over.
    #[must_use]
    pub fn succeeded_by(&self, upstreams: &[Upstream], timeouts: Timeouts) -> Self {
        let taken = RefCell::new(Vec::new());
        let next = Self::with(upstreams, timeouts, &|upstream, endpoint| {
            let mut before = self.upstreams.iter().filter(|known| known.name == upstream.name);
            let kept = before.find_map(|known| known.pools.iter().find(|pool| pool.is_of(endpoint)));
            let pool = kept.map_or_else(|| Rc::new(EndpointPool::new(endpoint)), Rc::clone);
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

    fn with(
        upstreams: &[Upstream],
        timeouts: Timeouts,
        pool: &dyn Fn(&Upstream, &Endpoint) -> Rc<EndpointPool>,
    ) -> Self {
        let endpoints = |upstream: &Upstream| Endpoints {
            name: upstream.name.clone(),
            pools: upstream
                .endpoints
                .iter()
                .map(|endpoint| pool(upstream, endpoint))
                .collect(),
            next: Cell::new(0),
        };
        Self {
            upstreams: upstreams.iter().map(endpoints).collect(),
            timeouts,
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
        let upstream = u16::try_from(upstream).unwrap_or(u16::MAX);
        (count > 0).then(|| Destination {
            endpoints: Rc::clone(&endpoints.pools),
            first,
            upstream,
        })
    }

    /// An empty buffer to write a head into.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
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
        let attempts = pin!(self.attempts(worker, onward, departure));
        match worker.deadlines().until(began + limit, attempts).await {
            Some(Ok((head, stream))) => {
                let took = worker.now().monotonic.saturating_sub(began);
                Ok(Answered { head, stream, took })
            }
            Some(Err(rejection)) => Err(Unanswered::new(rejection, departure)),
            None => {
                // A client that is slow to send must not look like a slow upstream.
                let rejection = if fate.is_over() {
                    worker
                        .telemetry()
                        .upstream_failed(upstream, UpstreamFailure::ResponseTimeout);
                    Rejection::UpstreamTimeout
                } else {
                    Rejection::InvalidInput("the request body did not arrive in time")
                };
                Err(Unanswered::new(rejection, departure))
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
        let mut pump = Pump::new(head, body, framing);
        for _ in 0..MAX_ATTEMPTS {
            let opened = self.open(worker, &destination).await;
            let Opened {
                mut connection,
                endpoint,
                is_pooled,
            } = opened.ok_or(Rejection::UpstreamUnavailable)?;
            departure.depart()?;
            let failure = match exchange(&mut connection, &mut pump, question, departure).await {
                Ok(head) => {
                    let unfinished = if pump.is_over() {
                        self.keep_buffer(pump.into_buffer());
                        None
                    } else {
                        Some(pump)
                    };
                    // Boxed here, because it is handed on through many hands.
                    let stream = AnswerStream::new(connection, Rc::clone(endpoint), &head, unfinished);
                    let stream = Box::new(stream);
                    return Ok((head, stream));
                }
                Err(failure) => failure,
            };
            let may_repeat = match failure {
                Failure::Unsent => is_pooled,
                Failure::BrokenOff => is_pooled && method.is_idempotent() && pump.can_rewind(),
                Failure::CutShort | Failure::Malformed(_) | Failure::Body(_) => false,
            };
            if !may_repeat {
                return Err(explain(worker, destination.upstream, &failure, &fate));
            }
            pump.rewind();
        }
        Err(Rejection::UpstreamUnavailable)
    }

    /// A connection to the first endpoint in order that can be reached.
    async fn open<'d>(&self, worker: &Worker, destination: &'d Destination) -> Option<Opened<'d>> {
        for endpoint in destination.in_order() {
            if let Some(connection) = endpoint.idle() {
                return Some(Opened {
                    connection,
                    endpoint,
                    is_pooled: true,
                });
            }
            if let Some(connection) = self.connect(worker, endpoint, destination.upstream).await {
                return Some(Opened {
                    connection,
                    endpoint,
                    is_pooled: false,
                });
            }
        }
        None
    }

    async fn connect(
        &self,
        worker: &Worker,
        endpoint: &Rc<EndpointPool>,
        upstream: u16,
    ) -> Option<Connection> {
        match endpoint.connect(self.timeouts.connect).await {
            Ok(connection) => {
                worker.telemetry().upstream_connected(upstream);
                Some(connection)
            }
            Err(error) => {
                let is_late = error.kind() == io::ErrorKind::TimedOut;
                let failure = if is_late {
                    UpstreamFailure::ConnectTimeout
                } else {
                    UpstreamFailure::Connect
                };
                worker.telemetry().upstream_failed(upstream, failure);
                tracing::debug!(%error, upstream = endpoint.authority(), "can't connect");
                None
            }
        }
    }
}

/// A connection for one attempt.
struct Opened<'d> {
    connection: Connection,
    endpoint: &'d Rc<EndpointPool>,
    is_pooled: bool,
}

fn explain(worker: &Worker, upstream: u16, failure: &Failure, fate: &BodyFate) -> Rejection {
    let failed = |kind| worker.telemetry().upstream_failed(upstream, kind);
    match failure {
        Failure::Unsent => {
            failed(UpstreamFailure::Closed);
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
