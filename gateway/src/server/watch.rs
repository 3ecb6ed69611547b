//! Watching one client connection, or one HTTP/2 stream of it: how long it has been silent, slow or stuck.
//!
//! hyper closes none of these by itself: a connection that never sends a byte, a head or a body that trickles, a
//! client that does not read its answer, a keep-alive connection nobody uses. [`WatchedStream`] notes when each
//! began, from a clock that is read once a tick; [`ConnectionState::sweep`] ends the ones that are over. No timer
//! a connection, no clock reading a call; a limit may be overrun by one tick.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;

use super::strict::heads::Unsound;

mod body;
mod limits;
mod stream;

pub use stream::WatchedStream;

/// Heads over the bound that an HTTP/2 connection may bring before it is cut off.
const MOST_LARGE_HEADS: u8 = 10;

/// The time as of the worker's last tick.
pub type TickClock = Rc<Cell<Duration>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted; PROXY protocol or TLS come first, and have a limit of their own.
    Greeting,
    /// Accepted, nothing received yet.
    Silent,
    /// Part of a head has come.
    Head,
    /// A call is being served.
    Serving,
    /// Between two calls.
    Idle,
    /// In a protocol that is none of ours.
    Tunnel,
    /// Everything is said; what the client still sends is thrown away.
    Leaving,
}

/// What is known of one client connection, or of one stream of an HTTP/2 connection.
#[derive(Debug)]
pub struct ConnectionState {
    clock: TickClock,
    kind: Kind,
    is_http2: Cell<bool>,
    /// Of a stream: what its client still sends, although the call is over.
    unread: RefCell<Option<Incoming>>,
    /// Of an HTTP/2 connection: calls whose heads were too large.
    large_heads: Cell<u8>,
    /// Of an HTTP/2 connection: its open streams.
    streams: Cell<usize>,
    /// The answer's end tells how the call went (gRPC), so that it can be ended with a word.
    ends_with_status: Cell<bool>,
    phase: Cell<Phase>,
    since: Cell<Duration>,
    write_stuck_since: Cell<Option<Duration>>,
    body_awaited_since: Cell<Option<Duration>>,
    /// How long the call's body was waited for in all, and how much of it came.
    body_awaited: Cell<Duration>,
    body_bytes: Cell<u64>,
    owes_body: Cell<bool>,
    /// Calls so far, the one that is served among them.
    calls: Cell<u64>,
    unsound: Cell<Option<(u64, Unsound)>>,
    is_over: Cell<bool>,
    is_aborted: Cell<bool>,
    draining_since: Cell<Option<Duration>>,
    /// It has been idle for so long that it needs no buffers.
    is_dozing: Cell<bool>,
    /// Whether it may wait for its next call, however long the drain is.
    drains_gently: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug)]
enum Kind {
    Connection,
    /// A stream of this one.
    Stream(Rc<ConnectionState>),
}

impl Drop for ConnectionState {
    fn drop(&mut self) {
        if let Kind::Stream(connection) = &self.kind {
            connection.stream_over();
        }
    }
}

impl ConnectionState {
    /// A connection that was accepted just now.
    #[must_use]
    pub fn new(clock: &TickClock) -> Rc<Self> {
        Self::of_kind(clock, Kind::Connection)
    }

    /// A stream that was opened on this connection just now. It counts as open until the last of it is gone.
    #[must_use]
    pub fn stream_of(connection: &Rc<Self>) -> Rc<Self> {
        connection.streams.set(connection.streams.get() + 1);
        connection.enter(Phase::Serving);
        Self::of_kind(&connection.clock, Kind::Stream(Rc::clone(connection)))
    }

    fn stream_over(&self) {
        let left = self.streams.get().saturating_sub(1);
        self.streams.set(left);
        if left == 0 {
            self.enter(Phase::Idle);
            self.wake();
        }
    }

    fn of_kind(clock: &TickClock, kind: Kind) -> Rc<Self> {
        Rc::new(Self {
            clock: Rc::clone(clock),
            kind,
            is_http2: Cell::new(false),
            unread: RefCell::new(None),
            large_heads: Cell::new(0),
            streams: Cell::new(0),
            ends_with_status: Cell::new(false),
            phase: Cell::new(Phase::Silent),
            since: Cell::new(clock.get()),
            write_stuck_since: Cell::new(None),
            body_awaited_since: Cell::new(None),
            body_awaited: Cell::new(Duration::ZERO),
            body_bytes: Cell::new(0),
            owes_body: Cell::new(false),
            calls: Cell::new(0),
            unsound: Cell::new(None),
            is_over: Cell::new(false),
            is_aborted: Cell::new(false),
            is_dozing: Cell::new(false),
            draining_since: Cell::new(None),
            drains_gently: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// The PROXY protocol or TLS come first.
    pub fn greeting_began(&self) {
        self.enter(Phase::Greeting);
    }

    /// They are over.
    pub fn greeting_over(&self) {
        self.enter(Phase::Silent);
    }

    /// HTTP/2 is spoken on it: what comes between two calls is not the head of the next.
    pub fn speaks_http2(&self) {
        self.is_http2.set(true);
        self.enter(Phase::Idle);
    }

    /// A head has come whole.
    pub fn call_began(&self) {
        self.calls.set(self.calls.get() + 1);
        self.owes_body.set(false);
        self.enter(Phase::Serving);
    }

    /// Whether a call is being served.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.phase.get() == Phase::Serving
    }

    /// Calls that have begun.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// The head of this number is not to be served, and none after it.
    pub fn found_unsound(&self, (call, unsound): (u64, Unsound)) {
        self.unsound.set(Some((call, unsound)));
    }

    /// What is wrong with the head of the call that is served, as its bytes came.
    #[must_use]
    pub fn unsound(&self) -> Option<Unsound> {
        let (first, unsound) = self.unsound.get()?;
        (first <= self.calls.get()).then_some(unsound)
    }

    /// Everything is said; the client is given a moment to notice.
    pub fn leaving(&self) {
        self.body_awaited_since.set(None);
        self.enter(Phase::Leaving);
    }

    /// A piece of an answer was handed over, and the next is asked for when the client has taken it. Of a stream alone: of a
    /// connection the socket tells.
    pub fn gave_answer(&self) {
        if let Kind::Stream(_) = self.kind {
            self.write_stuck_since.set(Some(self.clock.get()));
        }
    }

    /// The client has taken all that there is of the answer.
    pub fn waits_for_answer(&self) {
        if let Kind::Stream(_) = self.kind {
            self.write_stuck_since.set(None);
        }
    }

    /// The end of its answer can tell that its call was ended.
    pub fn ends_with_status(&self) {
        self.ends_with_status.set(true);
    }

    /// Its head was too large. Calls that are under way on its connection end in peace, and the client is told to send no
    /// more (GOAWAY); one that goes on all the same is not listened to any longer.
    pub fn had_too_large_a_head(&self) {
        if let Kind::Stream(connection) = &self.kind {
            let heads = connection.large_heads.get().saturating_add(1);
            connection.large_heads.set(heads);
            if heads > MOST_LARGE_HEADS {
                connection.abort();
            } else {
                connection.drain();
            }
        }
    }

    /// Keeps what the client still sends on a stream, so that the stream is not reset for it.
    pub fn leave_unread(&self, rest: Incoming) {
        if let Kind::Stream(_) = self.kind
            && !self.is_ended()
        {
            *self.unread.borrow_mut() = Some(rest);
        }
    }

    /// What was kept.
    #[must_use]
    pub fn take_unread(&self) -> Option<Incoming> {
        self.unread.borrow_mut().take()
    }

    /// Ends the call that is answered on it: with a word where there is one, and else at once.
    pub fn cut(&self) {
        if self.ends_with_status.get() {
            self.wake();
        } else {
            self.abort();
        }
    }

    /// The answer is out.
    pub fn call_over(&self) {
        self.body_awaited_since.set(None);
        self.enter(Phase::Idle);
    }

    /// It goes on in another protocol, which has limits of its own.
    pub fn tunnel_began(&self) {
        self.body_awaited_since.set(None);
        self.enter(Phase::Tunnel);
    }

    /// The time as of the worker's last tick, monotonic.
    #[must_use]
    pub fn ticked(&self) -> Duration {
        self.clock.get()
    }

    /// Ends the connection at once, whatever is under way on it, so that the client can't take what it got for a
    /// whole answer: it sees a reset, and what was still to be sent is thrown away.
    pub fn abort(&self) {
        self.is_aborted.set(true);
        self.wake();
    }

    /// Whether it is to end at once.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.is_aborted.get()
    }

    /// Whether it has ended, or is to end at once: nothing more is to be read.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_aborted.get() || self.is_over.get()
    }

    /// Has what the connection serves look around.
    pub fn rouse(&self) {
        self.wake();
    }

    /// Whether an HTTP/1.1 connection has been idle for so long that it needs no buffers.
    #[must_use]
    pub fn is_dozing(&self) -> bool {
        self.is_dozing.get()
    }

    fn enter(&self, phase: Phase) {
        self.is_dozing.set(false);
        self.phase.set(phase);
        self.since.set(self.clock.get());
    }

    fn wake(&self) {
        // Taken first: waking may poll the connection, which stores its waker again.
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn note(&self, context: &Context<'_>) {
        let mut known = self.waker.borrow_mut();
        if !known
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *known = Some(context.waker().clone());
        }
    }

    pub(crate) fn received(&self) {
        if matches!(self.phase.get(), Phase::Silent | Phase::Idle) && !self.is_http2.get() {
            self.enter(Phase::Head);
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.is_over.get() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(())
        }
    }

    fn wrote<T>(&self, context: &Context<'_>, outcome: Poll<T>) -> Poll<T> {
        if outcome.is_ready() {
            self.write_stuck_since.set(None);
        } else {
            if self.write_stuck_since.get().is_none() {
                self.write_stuck_since.set(Some(self.clock.get()));
            }
            self.note(context);
        }
        outcome
    }
}
