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

/// An answer that is copied together before it is written, in bytes.
const SMALL_ANSWER: usize = 2_048;

/// How long a drain waits for the first call of a new connection.
const FIRST_CALL_GRACE: Duration = Duration::from_millis(500);

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
}

/// What is known of one client connection.
#[derive(Debug)]
pub struct ConnectionState {
    clock: TickClock,
    phase: Cell<Phase>,
    since: Cell<Duration>,
    write_stuck_since: Cell<Option<Duration>>,
    body_awaited_since: Cell<Option<Duration>>,
    is_over: Cell<bool>,
    is_aborted: Cell<bool>,
    draining_since: Cell<Option<Duration>>,
    /// Whether it may wait for its next call, however long the drain is.
    drains_gently: Cell<bool>,
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
            is_over: Cell::new(false),
            is_aborted: Cell::new(false),
            draining_since: Cell::new(None),
            drains_gently: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// A head has come whole.
    pub fn call_began(&self) {
        self.enter(Phase::Serving);
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
        self.body_awaited_since.set(None);
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
            Phase::Serving | Phase::Tunnel => true,
            _ if self.drains_gently.get() => false,
            Phase::Idle => true,
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
                .is_some_and(|since| longer_than(since, limits.request_body_idle));
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
