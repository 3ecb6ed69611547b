//! HTTP/2 towards an upstream: one worker's connections to one endpoint, each of which carries many calls.
//!
//! A call takes a place on a connection that has one, as many as the peer allows and at most `MAX_STREAMS`; beyond that
//! another connection is opened, one at a time however many calls wait for it, and at most `MAX_CONNECTIONS`. A connection
//! that said GOAWAY, refused a call or broke a rule gets no more calls and ends with those that it has. A call is counted in
//! the turn in which the connection takes it, before the connection can write: see [`Departure::hand_over`].
//!
//! Memory is bounded by the windows: a stream may have `STREAM_WINDOW` bytes that nobody has taken, and the connection's
//! window is large enough for all of them, so that a client that does not read delays nobody else.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Departure;
use super::exchange::{Failure, INTERIM_WITHOUT_END, MAX_INTERIM};
use super::framing::Malformed;
use super::head::{self, AnswerHead, Question};
use super::pool::{EndpointPool, Unreachable};

mod driver;
mod incoming;
mod sending;

pub use incoming::Incoming;
use sending::SendFault;
pub use sending::Sending;

/// Calls on one connection at once, at most.
const MAX_STREAMS: usize = 128;
/// Connections of one worker to one endpoint that take calls.
const MAX_CONNECTIONS: usize = 64;
/// What a stream may send ahead of its client.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// Bytes of a request's body that a stream takes before they are sent.
const SEND_BUFFER: usize = 64 * 1024;

/// One worker's connections to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<Vec<Rc<Multiplexed>>>,
    opening: RefCell<Option<Rc<Opening>>>,
}

/// One connection.
#[derive(Debug)]
struct Multiplexed {
    /// `None`: it takes no more calls.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    /// When its last call ended.
    idle_since: Cell<Instant>,
}

/// A connection that is being opened, and those that wait for it.
#[derive(Debug, Default)]
struct Opening {
    outcome: OnceCell<Result<(), Unreachable>>,
    done: Notify,
}

/// A place for one call on a connection; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    connection: Rc<Multiplexed>,
    sender: SendRequest<Bytes>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get().saturating_sub(1));
        connection.idle_since.set(Instant::now());
    }
}

impl Multiplexed {
    /// It gets no more calls.
    fn retire(&self) {
        self.sender.take();
    }

    fn place(self: &Rc<Self>) -> Option<Place> {
        let sender = self.sender.borrow().as_ref()?.clone();
        let most = sender.current_max_send_streams().min(MAX_STREAMS);
        if self.streams.get() >= most {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Place {
            connection: Rc::clone(self),
            sender,
        })
    }

    /// Whether it takes calls, as far as is known: it is over when the peer has said GOAWAY or is gone.
    fn is_open(&self) -> bool {
        let mut sender = self.sender.borrow_mut();
        let Some(open) = sender.as_mut() else {
            return false;
        };
        let mut context = Context::from_waker(Waker::noop());
        if matches!(open.poll_ready(&mut context), Poll::Ready(Err(_))) {
            *sender = None;
            return false;
        }
        true
    }
}

impl Connections {
    /// A place on a connection that is open.
    pub(super) fn place(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.is_open());
        open.iter().find_map(Multiplexed::place)
    }

    /// None of them gets more calls; each ends with those that it has.
    pub(super) fn retire(&self) {
        self.open
            .borrow_mut()
            .drain(..)
            .for_each(|connection| connection.retire());
    }

    fn is_full(&self) -> bool {
        self.open.borrow().len() >= MAX_CONNECTIONS
    }
}

/// A place on a connection that is opened for it, by this call or another one, and how many this one had opened.
///
/// # Errors
/// When none can be opened within the limit, for all who wait for it.
pub(super) async fn open(endpoint: &Rc<EndpointPool>, limit: Duration) -> Result<(Place, u32), Unreachable> {
    let (connections, mut opened) = (endpoint.streams(), 0);
    loop {
        if let Some(place) = connections.place() {
            return Ok((place, opened));
        }
        let under_way = connections.opening.borrow().clone();
        let opening = match under_way {
            Some(opening) => opening,
            None if connections.is_full() => return Err(Unreachable::Full),
            None => {
                opened += 1;
                begin(endpoint, limit)
            }
        };
        let done = opening.done.notified();
        if opening.outcome.get().is_none() {
            done.await;
        }
        if let Some(Err(unreachable)) = opening.outcome.get() {
            return Err(unreachable.clone());
        }
    }
}

/// Opens a connection in a task of its own: whoever waits for it may go away.
fn begin(endpoint: &Rc<EndpointPool>, limit: Duration) -> Rc<Opening> {
    let opening = Rc::<Opening>::default();
    endpoint.streams().opening.replace(Some(Rc::clone(&opening)));
    let (endpoint, told) = (Rc::clone(endpoint), Rc::clone(&opening));
    tokio::task::spawn_local(async move {
        let outcome = driver::connect(&endpoint, limit).await;
        let outcome = outcome.map(|connection| endpoint.streams().open.borrow_mut().push(connection));
        endpoint.streams().opening.take();
        let _first = told.outcome.set(outcome);
        told.done.notify_waiters();
    });
    opening
}

/// Hands a request over and reads the head of its answer. What is left of the request is sent on by [`Incoming`].
///
/// # Errors
/// See [`Failure`]; the stream is reset then.
pub(super) async fn exchange(
    mut place: Place,
    sending: &mut Sending,
    question: Question<'_>,
    departure: &impl Departure,
) -> Result<(AnswerHead, Incoming), Failure> {
    let Ok(mut answer) = sending.begin(&mut place.sender, departure) else {
        place.connection.retire();
        return Err(Failure::Unsent);
    };
    let (mut is_broken, mut interim) = (false, 0);
    let answered = std::future::poll_fn(|context| {
        if !is_broken && !sending.is_over() {
            match sending.poll(context) {
                Poll::Ready(Err(SendFault::Body(fault))) => return Poll::Ready(Err(Failure::Body(fault))),
                // It may have answered before it stopped to take more.
                Poll::Ready(Err(SendFault::Stream)) => is_broken = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        while let Poll::Ready(Some(Ok(_))) = answer.poll_informational(context) {
            interim += 1;
            if interim > MAX_INTERIM {
                return Poll::Ready(Err(Failure::Malformed(INTERIM_WITHOUT_END)));
            }
        }
        let polled = std::pin::Pin::new(&mut answer).poll(context);
        polled.map_err(|error| failure(&error))
    })
    .await;
    let read = answered.and_then(|answer| {
        let (parts, body) = answer.into_parts();
        let head = head::of_http2(parts, question.method).map_err(Failure::Malformed)?;
        Ok((head, body))
    });
    match read {
        Ok((head, body)) => {
            let body = (!head::has_no_body(head.status, question.method)).then_some(body);
            let incoming = Incoming::new(body, place, &head);
            Ok((head, incoming))
        }
        Err(failure) => {
            if matches!(failure, Failure::Malformed(_) | Failure::Refused) {
                place.connection.retire();
            }
            sending.reset();
            Err(failure)
        }
    }
}

/// What an error means for the call.
fn failure(error: &h2::Error) -> Failure {
    if error.is_io() {
        return Failure::BrokenOff;
    }
    if !error.is_remote() {
        return Failure::Malformed(Malformed("the service broke the rules of HTTP/2"));
    }
    // Streams up to the one that a GOAWAY names are never told of it.
    if error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        return Failure::Refused;
    }
    Failure::CutShort
}
