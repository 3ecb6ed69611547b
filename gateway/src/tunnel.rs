//! A connection in a protocol that is none of ours, after a 101: bytes both ways until one side ends.
//!
//! The call that switched goes on as long as this does: it holds its place among the calls in flight, its bytes are counted,
//! and it ends when its key loses its rights, as every call in flight ([`crate::vigil`]). A WebSocket is told so by a Close frame (1008, or 1001 when the gateway stops) where a frame of
//! the upstream's has just ended; any other protocol, and one that stands within a frame, loses its connection.
//!
//! What comes waits in one buffer for each direction, which is given back when it is empty: a silent tunnel holds none.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use crate::call::Call;
use crate::deadlines::Alarm;
use crate::server::watch::{ConnectionState, WatchedStream};
use crate::upgrade::Switched;
use crate::upstream::wire::Wire;

pub mod websocket;

use websocket::{Close, Frames};

/// Read at once.
const PIECE: usize = 16 * 1024;
/// How long the other side has, once one has ended or a Close was sent.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Carries what both sides send until both have ended, or nobody may go on.
pub async fn run(client: WatchedStream, early: Bytes, switched: Switched, state: &Rc<ConnectionState>) {
    let Switched {
        upstream,
        call,
        is_websocket,
    } = switched;
    state.tunnel_began();
    let mut tunnel = Tunnel {
        client,
        upstream: upstream.stream,
        up: Flow::beginning_with(early.into()),
        down: Flow::beginning_with(upstream.buffer),
        idle: call.rules().config.timeouts.upgraded_idle,
        call,
        is_websocket,
        active: state.ticked(),
        ending: None,
        alarm: None,
        state: Rc::clone(state),
    };
    // However it ended, both connections are closed now.
    let _ended = std::future::poll_fn(|context| tunnel.poll(context)).await;
}

/// One direction.
#[derive(Debug)]
struct Flow {
    buffer: BytesMut,
    /// Where the frames that went through here stand.
    frames: Frames,
    has_ended: bool,
    is_over: bool,
}

impl Flow {
    fn beginning_with(buffer: BytesMut) -> Self {
        let mut frames = Frames::default();
        frames.pass(&buffer);
        Self {
            buffer,
            frames,
            has_ended: false,
            is_over: false,
        }
    }

    /// Whether something else can be said here.
    fn is_between_frames(&self) -> bool {
        self.buffer.is_empty() && self.frames.is_between() && !self.has_ended
    }

    /// Moves what there is; ready when the direction is over. `moved` hears of every piece.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        (from, to): (&mut R, &mut W),
        mut moved: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        while !self.is_over {
            ready!(self.flush(context, to))?;
            if self.has_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                self.is_over = true;
                break;
            }
            self.buffer.reserve(PIECE);
            let Poll::Ready(read) = poll_read_buf(Pin::new(&mut *from), context, &mut self.buffer) else {
                self.buffer = BytesMut::new();
                return Poll::Pending;
            };
            match read? {
                0 => self.has_ended = true,
                count => {
                    self.frames.pass(&self.buffer);
                    moved(count);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn flush<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            match ready!(Pin::new(&mut *to).poll_write(context, &self.buffer))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.buffer.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what comes and throws it away; ready when nothing more does.
    fn discard<R: AsyncRead + Unpin>(&mut self, context: &mut Context<'_>, from: &mut R) -> Poll<()> {
        let mut scratch = BytesMut::with_capacity(PIECE);
        loop {
            scratch.clear();
            if !matches!(
                ready!(poll_read_buf(Pin::new(&mut *from), context, &mut scratch)),
                Ok(1..)
            ) {
                return Poll::Ready(());
            }
        }
    }
}

struct Tunnel {
    client: WatchedStream,
    upstream: Wire,
    up: Flow,
    down: Flow,
    call: Box<Call>,
    is_websocket: bool,
    idle: Duration,
    /// When something last went through.
    active: Duration,
    ending: Option<Ending>,
    alarm: Option<Alarm>,
    state: Rc<ConnectionState>,
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
struct Ending {
    since: Duration,
    /// By us, with a Close.
    is_ours: bool,
}

impl Tunnel {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.note(context);
        if self.state.is_aborted() {
            return Poll::Ready(Ok(()));
        }
        if self.ending.is_none_or(|ending| !ending.is_ours) && self.is_to_close().is_err() {
            // Within a frame: nobody takes what it got for the whole.
            self.state.abort();
            return Poll::Ready(Ok(()));
        }
        let polled = match self.ending {
            Some(Ending { is_ours: true, .. }) => self.poll_close(context),
            Some(_) | None => self.poll_both(context),
        };
        if polled.is_ready() {
            return polled;
        }
        if self.is_late(context) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Begins to close when there is a reason.
    ///
    /// # Errors
    /// When it must end and nothing can be said.
    fn is_to_close(&mut self) -> Result<(), ()> {
        let can_say = self.is_websocket && self.down.is_between_frames();
        let close = if self.call.is_cut() {
            self.call.cut_short();
            if !can_say {
                return Err(());
            }
            Close::Policy
        } else if self.state.is_to_end() && can_say {
            Close::GoingAway
        } else {
            return Ok(());
        };
        self.down.buffer = BytesMut::from(close.frame(None).as_slice());
        if self.up.is_between_frames() {
            let [a, b, c, d, ..] = crate::random::next().to_le_bytes();
            self.up.buffer = BytesMut::from(close.frame(Some([a, b, c, d])).as_slice());
        }
        self.ending = Some(Ending {
            since: self.state.ticked(),
            is_ours: true,
        });
        self.alarm = None;
        Ok(())
    }

    /// Sends the last words, and waits for the client to have read them.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An upstream that doesn't hear it sees the connection end.
        if let Poll::Ready(Err(_)) = self.up.flush(context, &mut self.upstream) {
            self.up.buffer = BytesMut::new();
        }
        ready!(self.down.flush(context, &mut self.client))?;
        ready!(self.up.discard(context, &mut self.client));
        Poll::Ready(Ok(()))
    }

    fn poll_both(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (call, state, active) = (&self.call, &self.state, &mut self.active);
        let up = self
            .up
            .poll(context, (&mut self.client, &mut self.upstream), |count| {
                call.add_bytes_in(count as u64);
                *active = state.ticked();
            })?;
        let down = self
            .down
            .poll(context, (&mut self.upstream, &mut self.client), |count| {
                call.add_bytes_out(count);
                *active = state.ticked();
            })?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if (up.is_ready() || down.is_ready()) && self.ending.is_none() {
            self.ending = Some(Ending {
                since: self.state.ticked(),
                is_ours: false,
            });
            self.alarm = None;
        }
        Poll::Pending
    }

    /// Whether it was silent for too long, or the last word has taken too long.
    fn is_late(&mut self, context: &Context<'_>) -> bool {
        loop {
            let over = match self.ending {
                Some(ending) => ending.since + LAST_WORD,
                None => self.active + self.idle,
            };
            let worker = self.call.worker();
            let alarm = self.alarm.get_or_insert_with(|| Alarm::set(worker, over));
            if !alarm.is_over(context.waker()) {
                return false;
            }
            if self.state.ticked() >= over {
                return true;
            }
            // Something went through since it was set.
            self.alarm = None;
        }
    }
}
