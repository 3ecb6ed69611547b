//! A client's socket, with its watcher, and with what was read of it before its protocol was known.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use arrayvec::ArrayVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionState;
use crate::server::frames::{FrameBudget, PREFACE};
use crate::server::greeting::Early;
use crate::server::socket::ClientSocket;
use crate::telemetry::Turned;
use crate::worker::Worker;

/// An answer that is copied together before it is written, in bytes.
const SMALL_ANSWER: usize = 2_048;

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
