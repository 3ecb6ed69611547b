//! One call's attempts, until there is an answer to hand on or nothing more to try.
//!
//! A pooled connection that was closed meanwhile costs the next attempt; a machine that can't be reached, or fails, the turn to
//! another. An answer that is to be tried once more is kept until there is a connection for it: better that one than none.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use http::{HeaderValue, Method};

use super::answer::{AnswerStream, Arriving, Outgoing};
use super::exchange::Failure;
use super::head::{AnswerHead, Question};
use super::lanes::Destination;
use super::pool::{Connected, EndpointPool, Line, Unreachable};
use super::repeats::Repeats;
use super::{Departure, Onward, Pools};
use crate::body::{BodyFate, BodyFault};
use crate::rejection::Rejection;
use crate::telemetry::UpstreamFailure;
use crate::worker::Worker;

/// Attempts of one call: more stale connections than this in a row are no accident.
const MAX_ATTEMPTS: usize = 8;

/// Of an answer that is thrown away, so much is read to keep its connection.
const MAX_DISCARDED: usize = 64 * 1_024;

/// A final answer: its head, and its body as it comes.
pub(super) type Answer = (AnswerHead, Box<AnswerStream>);

/// A call that is being sent.
pub(super) struct Attempts<'a, D> {
    pools: &'a Pools,
    worker: &'a Worker,
    departure: &'a D,
    destination: Destination,
    method: &'a Method,
    upgrade: Option<HeaderValue>,
    request: Outgoing,
    repeats: Repeats<'a>,
    fate: Rc<BodyFate>,
}

/// A connection for one attempt.
struct Opened {
    line: Line,
    endpoint: Rc<EndpointPool>,
    is_pooled: bool,
}

impl<'a, D: Departure> Attempts<'a, D> {
    /// None made yet.
    ///
    /// # Errors
    /// Row 1, when the target can't be written in the form that is read there.
    pub(super) fn of(
        pools: &'a Pools,
        worker: &'a Worker,
        onward: Onward<'a>,
        departure: &'a D,
    ) -> Result<Self, Rejection> {
        let end = onward.began + onward.timeout.min(pools.timeouts.response_headers);
        let (method, upgrade) = (onward.method, onward.upgrade);
        let request = Outgoing::new(onward.head, onward.body, onward.framing)
            .ok_or(Rejection::InvalidInput("the target can't be forwarded"))?;
        let repeats = Repeats {
            worker,
            is_safe: method.is_idempotent() && request.can_rewind() && upgrade.is_none(),
            done: 0,
            end,
        };
        Ok(Self {
            pools,
            worker,
            departure,
            destination: onward.destination,
            method,
            upgrade,
            request,
            repeats,
            fate: onward.fate,
        })
    }

    /// Sends it until it is answered; `at` says where it is under way.
    ///
    /// # Errors
    /// Rows 13 and 15; 400 for a body that turns out malformed, and what [`Departure::depart`] says.
    pub(super) async fn run(mut self, at: &Cell<Option<usize>>) -> Result<Answer, Rejection> {
        let mut held: Option<Answer> = None;
        for _ in 0..MAX_ATTEMPTS {
            at.set(None);
            let Some(opened) = self.open().await else {
                // Better the answer that there is than none.
                return held.ok_or(Rejection::UpstreamUnavailable);
            };
            if let Some((_, stream)) = held.take() {
                discard(stream).await;
            }
            self.depart()?;
            at.set(Some(self.destination.place()));
            let question = Question {
                method: self.method,
                upgrade: self.upgrade.as_ref(),
            };
            match self.request.exchange(opened.line, question, self.departure).await {
                Ok((head, arriving)) if self.is_to_repeat(&head) => {
                    let stream = AnswerStream::new(arriving, opened.endpoint, &head, None);
                    held = Some((head, Box::new(stream)));
                    self.repeats.pause(&self.destination).await;
                }
                Ok(answer) => return Ok(self.answer(answer, opened.endpoint)),
                Err(failure) if opened.is_pooled && self.is_stale(&failure) => {}
                Err(failure) => self.follow(failure).await?,
            }
        }
        Err(Rejection::UpstreamUnavailable)
    }

    /// A connection to the machine that was chosen, or to another when it can't be reached.
    async fn open(&mut self) -> Option<Opened> {
        loop {
            let endpoint = Rc::clone(self.destination.pool()?);
            if let Some(line) = endpoint.idle() {
                return Some(Opened {
                    line,
                    endpoint,
                    is_pooled: true,
                });
            }
            if let Some(line) = self.connect(&endpoint).await {
                return Some(Opened {
                    line,
                    endpoint,
                    is_pooled: false,
                });
            }
            self.destination.failed(self.worker.now().monotonic);
            if !self.destination.turn() {
                return None;
            }
        }
    }

    async fn connect(&self, endpoint: &Rc<EndpointPool>) -> Option<Line> {
        let telemetry = self.worker.telemetry();
        let upstream = self.destination.lanes().upstream();
        match endpoint.connect(self.pools.timeouts.connect).await {
            Ok(Connected { line, opened }) => {
                for _ in 0..opened {
                    telemetry.upstream_connected(upstream);
                }
                Some(line)
            }
            Err(unreachable) => {
                telemetry.upstream_failed(upstream, unreachable.failure());
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

    /// Right before an attempt is written: the last moment to refuse, and the machine that has it from now on.
    fn depart(&mut self) -> Result<(), Rejection> {
        self.request.rewind();
        self.departure.depart()?;
        if let Some(in_hand) = self.destination.take_in_hand() {
            self.departure.is_in_hand(in_hand);
        }
        Ok(())
    }

    /// Whether it is sent again after this answer; what the answer says of the machine is noted.
    fn is_to_repeat(&mut self, head: &AnswerHead) -> bool {
        if self.destination.lanes().machines().is_failure(head.status) {
            self.destination.failed(self.worker.now().monotonic);
        }
        self.request.is_over() && self.repeats.follow(head, &mut self.destination)
    }

    /// An answer to hand on; what is left of the request goes out while it comes.
    fn answer(self, (head, arriving): (AnswerHead, Arriving), endpoint: Rc<EndpointPool>) -> Answer {
        let unfinished = if self.request.is_over() {
            if let Some(buffer) = self.request.into_buffer() {
                self.pools.keep_buffer(buffer);
            }
            None
        } else {
            Some(self.request)
        };
        // Boxed here, because it is handed on through many hands.
        let stream = Box::new(AnswerStream::new(arriving, endpoint, &head, unfinished));
        (head, stream)
    }

    /// Whether a pooled connection that failed so was closed before it took anything, or might as well have been.
    fn is_stale(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Unsent => true,
            Failure::BrokenOff => self.method.is_idempotent() && self.request.can_rewind(),
            Failure::Refused | Failure::CutShort | Failure::Malformed(_) | Failure::Body(_) => false,
        }
    }

    /// Turns to another attempt after a failure, where there may be one.
    async fn follow(&mut self, failure: Failure) -> Result<(), Rejection> {
        note(self.worker, &self.destination, &failure);
        let goes_on = match failure {
            Failure::Unsent => self.destination.turn(),
            // It says that it has done nothing with it. The same one may take it the next time.
            Failure::Refused => {
                self.destination.turn();
                self.request.can_rewind()
            }
            Failure::BrokenOff | Failure::CutShort => self.repeats.follow_break(&mut self.destination).await,
            Failure::Malformed(_) | Failure::Body(_) => false,
        };
        if goes_on {
            Ok(())
        } else {
            Err(explain(&failure, &self.fate))
        }
    }
}

/// Reads what has come of an answer that nobody gets. When that is all of it, its connection is kept; otherwise it is
/// closed.
async fn discard(mut stream: Box<AnswerStream>) {
    let mut left = MAX_DISCARDED;
    poll_fn(|context| {
        while let Poll::Ready(Some(Ok(piece))) = stream.poll_frame(context) {
            left = left.saturating_sub(piece.data_ref().map_or(0, |data| data.len()));
            if left == 0 {
                break;
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Counts a failure that is not the client's. A call that was refused in order says nothing against the machine: it is
/// how one that stops, or has enough, keeps others from waiting.
fn note(worker: &Worker, destination: &Destination, failure: &Failure) {
    let kind = match failure {
        Failure::Unsent | Failure::BrokenOff | Failure::CutShort => UpstreamFailure::Closed,
        Failure::Refused => UpstreamFailure::Refused,
        Failure::Malformed(_) => UpstreamFailure::Malformed,
        Failure::Body(_) => return,
    };
    let upstream = destination.lanes().upstream();
    worker.telemetry().upstream_failed(upstream, kind);
    if !matches!(failure, Failure::Refused) {
        destination.failed(worker.now().monotonic);
    }
}

fn explain(failure: &Failure, fate: &BodyFate) -> Rejection {
    match failure {
        Failure::Unsent | Failure::Refused => Rejection::UpstreamUnavailable,
        Failure::BrokenOff | Failure::CutShort => {
            Rejection::BadGateway("the service broke off before it answered")
        }
        Failure::Malformed(malformed) => Rejection::BadGateway(malformed.0),
        Failure::Body(BodyFault::Client) => {
            Rejection::InvalidInput("the request body is malformed or broke off")
        }
        Failure::Body(BodyFault::TooLarge) => Rejection::PayloadTooLarge(fate.bound()),
    }
}
