//! Forwarding a permitted call: the worker's own connections to the upstreams.
//!
//! Every worker keeps its own idle connections, so nothing is shared and nothing is locked. [`Pools::forward`]
//! takes a [`Permit`]: forwarding without one can't be written. A pooled connection that turns out to be closed
//! is no error of the call: what was never written is sent on another, and a call without a body whose method
//! is idempotent (RFC 9110 §9.2.2) once more even when it may have been written.
//!
//! What a machine itself fails is sent to another one: always when it can't be connected to, and where the upstream
//! says so ([`retry`]) when it breaks off or answers with a listed status; the latter only without a body, with an
//! idempotent method, within a budget and in time. However often it is sent, it is one call: charged and counted once.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use keyward_config::Timeouts;
use tokio::net::TcpStream;

use crate::body::{BodyFate, RequestBody};
use crate::limits::Permit;
use crate::rejection::Rejection;
use crate::rules::Rules;
use crate::telemetry::UpstreamFailure;
use crate::worker::Worker;

pub mod answer;
mod attempts;
pub mod balance;
pub mod check;
pub mod exchange;
pub mod fleet;
pub mod framing;
#[doc(hidden)]
pub mod fuzzing;
pub mod head;
pub mod health;
pub mod http2;
pub mod lanes;
pub mod pool;
pub mod pump;
mod repeats;
pub mod request;
pub mod resolve;
pub mod retry;
pub mod tend;
pub mod tls;
pub mod trailers;
pub mod wire;

use answer::AnswerStream;
use attempts::Attempts;
use balance::Seeker;
use fleet::{Machine, Machines};
use head::AnswerHead;
use lanes::Lanes;
pub use lanes::{Destination, InHand};
pub use pool::Connection;
use pool::EndpointPool;
use pump::BodyFraming;
use request::RequestHead;

/// Buffers for heads that a worker keeps.
const MAX_SPARE_BUFFERS: usize = 64;

/// One worker's connections to every upstream.
#[derive(Debug)]
pub struct Pools {
    upstreams: Vec<Rc<Lanes>>,
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

    /// A machine has the call in hand from now on, and no other any more. It is to be kept until the call is over.
    fn is_in_hand(&self, in_hand: InHand);
}

impl Pools {
    /// Empty pools for the upstreams of these rules.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self::with(rules, |_, machine| Rc::new(EndpointPool::new(machine)))
    }

    /// Pools for what upstreams are after a reload. A machine that the upstream of the same name had already, and that is
    /// spoken to in the same way, keeps its connections; the idle ones of all others are closed, and those in use when
    /// their calls are over.
    #[must_use]
    pub fn succeeded_by(&self, rules: &Rules) -> Self {
        let mut taken = Vec::new();
        let next = Self::with(rules, |upstream, machine| {
            let mut before = self
                .upstreams
                .iter()
                .filter(|known| known.machines().name() == upstream.name());
            let kept = before.find_map(|known| known.pools().iter().find(|pool| pool.is_of(machine)));
            let pool = kept.map_or_else(
                || Rc::new(EndpointPool::new(machine)),
                |kept| {
                    kept.adopt(machine);
                    Rc::clone(kept)
                },
            );
            taken.push(Rc::clone(&pool));
            pool
        });
        for pool in self.upstreams.iter().flat_map(|known| known.pools()) {
            if !taken.iter().any(|kept| Rc::ptr_eq(kept, pool)) {
                pool.retire();
            }
        }
        next
    }

    fn with(rules: &Rules, mut pool: impl FnMut(&Machines, &Arc<Machine>) -> Rc<EndpointPool>) -> Self {
        let lanes = |(index, machines): (usize, &Arc<Machines>)| {
            let label = rules.upstream_label(index);
            Rc::new(Lanes::new(label, machines, |machine| pool(machines, machine)))
        };
        Self {
            upstreams: rules.fleet.upstreams().iter().enumerate().map(lanes).collect(),
            timeouts: rules.config.timeouts,
            spare: RefCell::default(),
        }
    }

    /// Chooses where a call to an upstream goes; `None` when none of its machines may be used.
    #[must_use]
    pub fn destination(&self, upstream: usize, seeker: &Seeker<'_>) -> Option<Destination> {
        self.upstreams.get(upstream)?.destination(seeker)
    }

    /// An empty head, in the form that is read there.
    #[must_use]
    pub fn head(&self, destination: &Destination) -> RequestHead {
        match destination.pool() {
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
        let (began, end) = (onward.began, onward.began + onward.timeout);
        let limit = self.timeouts.response_headers;
        let (fate, lanes) = (Rc::clone(&onward.fate), Rc::clone(onward.destination.lanes()));
        lanes.count_call(began);
        let at = Cell::new(None);
        let attempts = Attempts::of(self, worker, onward, departure);
        let attempts = attempts.map_err(|rejection| Unanswered::new(rejection, departure))?;
        let mut attempts = pin!(attempts.run(&at));
        let mut until = end.min(began + limit);
        loop {
            match worker.deadlines().until(until, attempts.as_mut()).await {
                Some(Ok((head, stream))) => {
                    let took = worker.now().monotonic.saturating_sub(began);
                    return Ok(Answered { head, stream, took });
                }
                Some(Err(rejection)) => return Err(Unanswered::new(rejection, departure)),
                None => {}
            }
            // The limit is one for the answer: it begins when the last of the request has come.
            let later = end.min(fate.moved_at() + limit);
            if later <= until {
                break;
            }
            until = later;
        }
        Err(Unanswered::new(
            late(worker, (&lanes, at.get()), &fate),
            departure,
        ))
    }
}

/// Whose fault it is that the answer is not there in time.
fn late(worker: &Worker, (lanes, place): (&Lanes, Option<usize>), fate: &BodyFate) -> Rejection {
    if fate.is_awaited() {
        // A client that is slow to send must not look like a slow upstream.
        return Rejection::InvalidInput("the request body did not arrive in time");
    }
    worker
        .telemetry()
        .upstream_failed(lanes.upstream(), UpstreamFailure::ResponseTimeout);
    if let Some(place) = place {
        lanes.failed(place, worker.now().monotonic);
    }
    Rejection::UpstreamTimeout
}
