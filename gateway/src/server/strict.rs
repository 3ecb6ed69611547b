//! What stands between a client's socket and hyper's HTTP/1.1, so that nothing is taken or answered in hyper's way only.
//!
//! In: every byte passes [`heads::Heads`], which finds what hyper would take in silence. Out: hyper answers a head that
//! it can't read by itself, with a bare status. That answer is held back, to be said in our words
//! (`server/farewell.rs`): bytes that come while everything of every call is out can be nothing else.
//!
//! Cost: a search over the heads that are read; one comparison a write.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watch::ConnectionState;
use heads::Heads;

pub mod heads;

/// A client's connection as hyper's HTTP/1.1 sees it.
#[derive(Debug)]
pub struct StrictStream<S> {
    stream: S,
    state: Rc<ConnectionState>,
    heads: Heads,
    /// Calls of which everything is out.
    answered: u64,
    /// What hyper would have said of a head that it could not read.
    held_back: Option<StatusCode>,
    is_at_end: bool,
}

impl<S> StrictStream<S> {
    /// In front of this stream.
    #[must_use]
    pub fn new(stream: S, state: Rc<ConnectionState>) -> Self {
        Self {
            stream,
            state,
            heads: Heads::default(),
            answered: 0,
            held_back: None,
            is_at_end: false,
        }
    }

    /// The stream itself.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The stream, to be used past hyper.
    pub fn inner(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The status of the answer that hyper would have given by itself.
    #[must_use]
    pub fn held_back(&self) -> Option<StatusCode> {
        self.held_back
    }

    /// Whether everything of every call is out.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.answered == self.state.calls()
    }

    /// Whether the client has said that nothing more comes.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Whether these bytes are hyper's own answer. All of it comes at once, and nothing after it.
    fn holds_back(&mut self, bytes: &[u8]) -> bool {
        if !self.is_quiet() {
            return false;
        }
        let status = bytes
            .get(9..12)
            .and_then(|status| StatusCode::from_bytes(status).ok());
        self.held_back = self.held_back.or(status).or(Some(StatusCode::BAD_REQUEST));
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        this.is_at_end |= bytes.is_empty();
        this.heads.saw(bytes);
        if let Some(unsound) = this.heads.unsound() {
            this.state.found_unsound(unsound);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StrictStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        // hyper flushes when it has written all that it had.
        if !self.state.is_serving() {
            self.answered = self.state.calls();
            // What of the next call came with this one was received while it was served.
            if !self.heads.is_between_calls() {
                self.state.received();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was held back is still to be said.
        if self.held_back.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = buffers.first().map_or(&[][..], |buffer| buffer);
        if self.holds_back(first) {
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}
