//! Watching one client connection, or one HTTP/2 stream of it: how long it has been silent, slow or stuck.
//!
//! hyper closes none of these by itself: a connection that never sends a byte, a head or a body that trickles, a
//! client that does not read its answer, a keep-alive connection nobody uses. [`WatchedStream`] notes when each
//! began, from a clock that is read once a tick; [`ConnectionState::sweep`] ends the ones that are over. No timer
//! a connection, no clock reading a call; a limit may be overrun by one tick.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arrayvec::ArrayVec;
use hyper::body::Incoming;
use keyward_config::Timeouts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{FrameBudget, PREFACE};
use super::greeting::Early;
use super::socket::ClientSocket;
use super::strict::heads::Unsound;
use crate::telemetry::Turned;
use crate::worker::Worker;

/// An answer that is copied together before it is written, in bytes.
const SMALL_ANSWER: usize = 2_048;

/// How long a drain waits for the first call of a new connection.
const FIRST_CALL_GRACE: Duration = Duration::from_millis(500);

/// How long a client that still sends may take to notice that it has been answered.
const LEAVE: Duration = Duration::from_secs(2);
/// Heads over the bound that an HTTP/2 connection may bring before it is cut off.
const MOST_LARGE_HEADS: u8 = 10;

/// How long an HTTP/1.1 connection keeps its buffers between two calls.
const DOZE: Duration = Duration::from_secs(1);

/// How long a client has to hear that its HTTP/2 connection ends.
const LAST_WORD: Duration = Duration::from_secs(1);

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

    /// A body follows the head of the call that has begun.
    pub fn body_began(&self) {
        self.owes_body.set(true);
        self.body_awaited.set(Duration::ZERO);
        self.body_bytes.set(0);
    }

    /// The call's body has come to its end.
    pub fn body_over(&self) {
        self.owes_body.set(false);
    }

    /// Whether a part of the last call's body has not come, or has not been read.
    #[must_use]
    pub fn owes_body(&self) -> bool {
        self.owes_body.get()
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

    /// The call waits for a piece of its body.
    pub fn waits_for_body(&self) {
        if self.body_awaited_since.get().is_none() {
            self.body_awaited_since.set(Some(self.clock.get()));
        }
    }

    /// A piece of the body has come.
    pub fn got_body(&self) {
        if let Some(since) = self.body_awaited_since.take() {
            let waited = self.clock.get().saturating_sub(since);
            self.body_awaited.set(self.body_awaited.get() + waited);
        }
    }

    /// So much of the body has come.
    pub fn add_body(&self, bytes: usize) {
        self.body_bytes.set(self.body_bytes.get() + bytes as u64);
    }

    /// Whether the body comes too slowly. Only the time counts in which it was waited for, so that it is never the
    /// upstream's slowness; a body that comes in bursts is given as long as an idle one.
    fn is_body_too_slow(&self, now: Duration, limits: &Timeouts) -> bool {
        let waiting = self
            .body_awaited_since
            .get()
            .map(|since| now.saturating_sub(since));
        let waited = self.body_awaited.get() + waiting.unwrap_or_default();
        let least = u128::from(limits.request_body_rate) * waited.as_millis() / 1000;
        waiting.is_some() && waited > limits.request_body_idle && u128::from(self.body_bytes.get()) < least
    }

    /// Asks the connection to end after the call it serves, or now when it serves none.
    pub fn drain(&self) {
        self.draining_since.set(Some(self.clock.get()));
        self.wake();
    }

    /// Asks the connection to end after the call it serves or the next one, whose answer says so: a client that is told
    /// loses no call, as it could on a connection that is closed while its next one is on the way.
    pub fn drain_gently(&self) {
        self.drains_gently.set(true);
        self.drain();
    }

    /// Whether it is to end after the call it serves. A connection whose first call is on its way is given a
    /// moment: the client could not know better when it sent it.
    #[must_use]
    pub fn is_to_end(&self) -> bool {
        let Some(since) = self.draining_since.get() else {
            return false;
        };
        match self.phase.get() {
            Phase::Serving | Phase::Tunnel | Phase::Leaving => true,
            // GOAWAY tells which calls were not taken; nothing tells it over HTTP/1.1.
            _ if self.drains_gently.get() && !self.is_http2.get() => false,
            Phase::Idle => true,
            Phase::Greeting | Phase::Silent | Phase::Head => {
                self.clock.get().saturating_sub(since) > FIRST_CALL_GRACE
            }
        }
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

    /// Ends the connection, or the stream, when one of its limits is over.
    pub fn sweep(&self, limits: &Timeouts) {
        let now = self.clock.get();
        let longer_than = |since: Duration, limit| now.saturating_sub(since) > limit;
        let limit = match self.phase.get() {
            Phase::Silent => Some(limits.first_byte),
            Phase::Head => Some(limits.request_headers),
            Phase::Idle => Some(limits.idle),
            Phase::Leaving => Some(LEAVE),
            Phase::Greeting | Phase::Serving | Phase::Tunnel => None,
        };
        let is_spent = limit.is_some_and(|limit| longer_than(self.since.get(), limit));
        let is_stuck = self
            .write_stuck_since
            .get()
            .is_some_and(|since| longer_than(since, limits.write_stall));
        let is_awaited = self
            .body_awaited_since
            .get()
            .is_some_and(|since| longer_than(since, limits.request_body_idle))
            || self.is_body_too_slow(now, limits);
        match self.kind {
            // It can't be told on a stream that takes nothing; its task is dropped.
            Kind::Stream(_) if is_stuck => return self.abort(),
            Kind::Stream(_) => self.is_over.set(self.is_over.get() || is_awaited),
            Kind::Connection if self.is_http2.get() && is_spent => self.say_goodbye(),
            Kind::Connection => {
                self.is_over
                    .set(self.is_over.get() || is_spent || is_stuck || is_awaited);
            }
        }
        let is_tired = matches!(self.kind, Kind::Connection)
            && !self.is_http2.get()
            && self.phase.get() == Phase::Idle
            && self.write_stuck_since.get().is_none()
            && longer_than(self.since.get(), DOZE)
            && !self.is_dozing.replace(true);
        if self.is_over.get() || self.is_to_end() || is_tired {
            self.wake();
        }
    }

    /// An HTTP/2 connection is told that it ends (GOAWAY), and ends when the client has had a moment to hear it.
    fn say_goodbye(&self) {
        match self.draining_since.get() {
            None => self.draining_since.set(Some(self.clock.get())),
            Some(since) if self.clock.get().saturating_sub(since) > LAST_WORD => self.is_over.set(true),
            Some(_) => {}
        }
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

/// A client's socket that tells its [`ConnectionState`] what happens on it.
#[derive(Debug)]
pub struct WatchedStream {
    socket: ClientSocket,
    early: Early,
    state: Rc<ConnectionState>,
    /// What may come over HTTP/2.
    budget: Option<Box<Budget>>,
}

#[derive(Debug)]
struct Budget {
    frames: FrameBudget,
    worker: Rc<Worker>,
}

impl WatchedStream {
    /// Watches a socket, of which this was read already.
    #[must_use]
    pub fn new(socket: ClientSocket, early: Early, state: Rc<ConnectionState>) -> Self {
        Self {
            socket,
            early,
            state,
            budget: None,
        }
    }

    /// Ends when more frames come than these.
    #[must_use]
    pub fn within(mut self, frames: FrameBudget, worker: &Rc<Worker>) -> Self {
        self.budget = Some(Box::new(Budget {
            frames,
            worker: Rc::clone(worker),
        }));
        self
    }

    /// Waits for the first bytes of the next call, without a buffer to speak of; `false` when there is none.
    pub fn poll_doze(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.state.is_ended() || self.state.is_to_end() {
            return Poll::Ready(false);
        }
        let mut room = [0; PREFACE.len()];
        let mut buffer = ReadBuf::new(&mut room);
        match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
            Poll::Pending => {
                self.state.note(context);
                return Poll::Pending;
            }
            Poll::Ready(Err(_)) => return Poll::Ready(false),
            Poll::Ready(Ok(())) => {}
        }
        // There is room: it was empty.
        let _ = self.early.try_extend_from_slice(buffer.filled());
        self.state.received();
        Poll::Ready(!self.early.is_empty())
    }

    fn came(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(budget) = &mut self.budget else {
            return Ok(());
        };
        budget.frames.came(bytes, self.state.ticked()).map_err(|flood| {
            tracing::debug!(?flood, "a client floods its HTTP/2 connection");
            budget.worker.telemetry().turned(Turned::Flood);
            self.state.abort();
            io::ErrorKind::InvalidData.into()
        })
    }

    fn wrote(&mut self, outcome: &Poll<io::Result<usize>>) {
        if let (Some(budget), Poll::Ready(Ok(count))) = (&mut self.budget, outcome) {
            budget.frames.carried(*count);
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        if self.state.is_aborted() {
            self.socket.abort();
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.state.check()?;
        let before = buffer.filled().len();
        if this.early.is_empty() {
            let outcome = Pin::new(&mut this.socket).poll_read(context, buffer);
            if outcome.is_pending() {
                this.state.note(context);
                return outcome;
            }
            this.state.received();
        } else {
            let count = this.early.len().min(buffer.remaining());
            buffer.put_slice(&this.early[..count]);
            this.early.drain(..count);
        }
        this.came(buffer.filled().get(before..).unwrap_or_default())?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.state.check()?;
        let outcome = Pin::new(&mut this.socket).poll_write(context, bytes);
        this.wrote(&outcome);
        this.state.wrote(context, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_flush(context);
        // What a socket in clear text took is out of our hands: nothing is learned from flushing it.
        if this.socket.holds_back() {
            return this.state.wrote(context, outcome);
        }
        outcome
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.state.check()?;
        // Head and body of a small answer: copying them together costs less than telling the kernel of both.
        let mut together = ArrayVec::<u8, SMALL_ANSWER>::new();
        let is_small = buffers.len() > 1
            && buffers
                .iter()
                .all(|buffer| together.try_extend_from_slice(buffer).is_ok());
        let socket = Pin::new(&mut this.socket);
        let outcome = if is_small {
            socket.poll_write(context, &together)
        } else {
            socket.poll_write_vectored(context, buffers)
        };
        this.wrote(&outcome);
        this.state.wrote(context, outcome)
    }
}
