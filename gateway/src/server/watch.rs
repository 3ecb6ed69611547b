//! Watching one client connection: how long it has been silent, slow or stuck.
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
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use keyward_config::Timeouts;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::strict::heads::Unsound;

/// An answer that is copied together before it is written, in bytes.
const SMALL_ANSWER: usize = 2_048;

/// How long a drain waits for the first call of a new connection.
const FIRST_CALL_GRACE: Duration = Duration::from_millis(500);

/// How long a client that still sends may take to notice that it has been answered.
const LEAVE: Duration = Duration::from_secs(2);

/// The time as of the worker's last tick.
pub type TickClock = Rc<Cell<Duration>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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

/// What is known of one client connection.
#[derive(Debug)]
pub struct ConnectionState {
    clock: TickClock,
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
    waker: RefCell<Option<Waker>>,
}

impl ConnectionState {
    /// A connection that was accepted just now.
    #[must_use]
    pub fn new(clock: &TickClock) -> Rc<Self> {
        Rc::new(Self {
            clock: Rc::clone(clock),
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
            draining_since: Cell::new(None),
            waker: RefCell::new(None),
        })
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

    /// Whether it is to end after the call it serves. A connection whose first call is on its way is given a
    /// moment: the client could not know better when it sent it.
    #[must_use]
    pub fn is_to_end(&self) -> bool {
        let Some(since) = self.draining_since.get() else {
            return false;
        };
        match self.phase.get() {
            Phase::Serving | Phase::Idle | Phase::Tunnel | Phase::Leaving => true,
            Phase::Silent | Phase::Head => self.clock.get().saturating_sub(since) > FIRST_CALL_GRACE,
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

    /// Has what the connection serves look around.
    pub fn rouse(&self) {
        self.wake();
    }

    /// Ends the connection when one of its limits is over.
    pub fn sweep(&self, limits: &Timeouts) {
        let now = self.clock.get();
        let longer_than = |since: Duration, limit| now.saturating_sub(since) > limit;
        let limit = match self.phase.get() {
            Phase::Silent => Some(limits.first_byte),
            Phase::Head => Some(limits.request_headers),
            Phase::Idle => Some(limits.idle),
            Phase::Leaving => Some(LEAVE),
            Phase::Serving | Phase::Tunnel => None,
        };
        let is_over = limit.is_some_and(|limit| longer_than(self.since.get(), limit))
            || self
                .write_stuck_since
                .get()
                .is_some_and(|since| longer_than(since, limits.write_stall))
            || self
                .body_awaited_since
                .get()
                .is_some_and(|since| longer_than(since, limits.request_body_idle))
            || self.is_body_too_slow(now, limits);
        if is_over {
            self.is_over.set(true);
        }
        if is_over || self.is_to_end() {
            self.wake();
        }
    }

    fn enter(&self, phase: Phase) {
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

    fn received(&self) {
        if matches!(self.phase.get(), Phase::Silent | Phase::Idle) {
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
    stream: TokioIo<TcpStream>,
    state: Rc<ConnectionState>,
}

impl WatchedStream {
    /// Watches a socket.
    #[must_use]
    pub fn new(stream: TcpStream, state: Rc<ConnectionState>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            state,
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        if self.state.is_aborted() {
            let _ = SockRef::from(self.stream.inner()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Read for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.state.check()?;
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &outcome {
            Poll::Ready(_) => self.state.received(),
            Poll::Pending => self.state.note(context),
        }
        outcome
    }
}

impl Write for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state.check()?;
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.state.wrote(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.check()?;
        // Head and body of a small answer: copying them together costs less than telling the kernel of both.
        let mut together = ArrayVec::<u8, SMALL_ANSWER>::new();
        let is_small = buffers.len() > 1
            && buffers
                .iter()
                .all(|buffer| together.try_extend_from_slice(buffer).is_ok());
        let stream = Pin::new(&mut self.stream);
        let outcome = if is_small {
            stream.poll_write(context, &together)
        } else {
            stream.poll_write_vectored(context, buffers)
        };
        self.state.wrote(context, outcome)
    }
}
