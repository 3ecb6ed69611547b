//! Writing a request in HTTP/1.1: its head, then its body as it comes, framed as the head says.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::Departure;
use super::wire::Wire;
use crate::body::{BodyFault, RequestBody};

/// How the body of a request is framed towards the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// By the `Content-Length` that the head carries, or there is none.
    Sized,
    /// In chunks.
    Chunked,
}

/// A request on its way out.
#[derive(Debug)]
pub struct Pump {
    out: Vec<u8>,
    written: usize,
    head_length: usize,
    body: RequestBody,
    framing: BodyFraming,
    is_fed: bool,
    /// A part of the request is gone from `out`: it can't begin again.
    is_spent: bool,
    /// Of `out`, what TLS has sealed before a byte was sent.
    sealed: usize,
    /// The connection may hold back what was written.
    is_flushed: bool,
}

/// Why a request could not be written to its end.
#[derive(Debug)]
pub enum PumpFault {
    /// The client's body.
    Body(BodyFault),
    /// The upstream's connection.
    Connection(io::Error),
}

impl Pump {
    /// `head` ends with its empty line.
    #[must_use]
    pub fn new(head: Vec<u8>, body: RequestBody, framing: BodyFraming) -> Self {
        let is_fed = body.is_end_stream() && framing == BodyFraming::Sized;
        Self {
            head_length: head.len(),
            out: head,
            written: 0,
            body,
            framing,
            is_fed,
            is_spent: false,
            sealed: 0,
            is_flushed: false,
        }
    }

    /// Whether everything is written.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_fed && self.written == self.out.len() && self.is_flushed
    }

    /// Whether it can be written again from its beginning: nothing of a body has been used.
    #[must_use]
    pub fn can_rewind(&self) -> bool {
        self.is_fed && !self.is_spent && self.out.len() == self.head_length
    }

    /// Begins again, on another connection.
    pub fn rewind(&mut self) {
        self.written = 0;
        self.sealed = 0;
        self.is_flushed = false;
    }

    /// The buffer, to be used again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.out
    }

    /// Writes the first bytes. Until this has succeeded, nothing was sent in this attempt.
    ///
    /// # Errors
    /// Whose side failed.
    pub fn begin(
        &mut self,
        stream: &mut Wire,
        context: &mut Context<'_>,
        departure: &impl Departure,
    ) -> Poll<Result<(), PumpFault>> {
        // A body whose first piece is there goes out with the head, in one packet.
        let is_head_alone = !self.is_fed && self.out.len() == self.head_length;
        if is_head_alone && let Poll::Ready(Err(fault)) = self.feed(context) {
            return Poll::Ready(Err(PumpFault::Body(fault)));
        }
        match ready!(stream.poll_first(context, (&self.out, &mut self.sealed), departure)) {
            Ok(written) => {
                self.written = written;
                // Clear text is never held back.
                self.is_flushed = matches!(stream, Wire::Plain(_));
                Poll::Ready(Ok(()))
            }
            Err(error) => fault(error),
        }
    }

    /// Writes as much as can be written now, after [`Self::begin`].
    ///
    /// # Errors
    /// Whose side failed.
    pub fn poll(&mut self, stream: &mut Wire, context: &mut Context<'_>) -> Poll<Result<(), PumpFault>> {
        loop {
            while self.written < self.out.len() {
                let left = self.out.get(self.written..).unwrap_or_default();
                let written = ready!(Pin::new(&mut *stream).poll_write(context, left));
                match written {
                    Ok(0) => return fault(io::ErrorKind::WriteZero.into()),
                    Ok(written) => self.written += written,
                    Err(error) => return fault(error),
                }
            }
            if !self.is_flushed
                && let Err(error) = ready!(Pin::new(&mut *stream).poll_flush(context))
            {
                return fault(error);
            }
            if self.is_fed {
                self.is_flushed = true;
                return Poll::Ready(Ok(()));
            }
            self.out.clear();
            self.written = 0;
            self.is_spent = true;
            if let Err(fault) = ready!(self.feed(context)) {
                return Poll::Ready(Err(PumpFault::Body(fault)));
            }
        }
    }

    /// Appends the next piece of the body.
    fn feed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match frame {
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(data) => self.append(&data),
                    // They are the last of a body.
                    Err(frame) => {
                        self.finish(frame.into_trailers().ok().as_ref());
                        return Poll::Ready(Ok(()));
                    }
                }
                if self.body.is_end_stream() {
                    self.finish(None);
                }
            }
            Some(Err(fault)) => return Poll::Ready(Err(fault)),
            None => self.finish(None),
        }
        Poll::Ready(Ok(()))
    }

    fn append(&mut self, data: &Bytes) {
        match self.framing {
            BodyFraming::Sized => self.out.extend_from_slice(data),
            // An empty chunk would end the body.
            BodyFraming::Chunked if data.is_empty() => {}
            BodyFraming::Chunked => {
                self.out
                    .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.out.extend_from_slice(data);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Trailers have no place behind a body whose length was said.
    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        if self.framing == BodyFraming::Chunked {
            self.out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.into_iter().flatten() {
                for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    self.out.extend_from_slice(part);
                }
            }
            self.out.extend_from_slice(b"\r\n");
        }
        self.is_fed = true;
    }
}

fn fault(error: io::Error) -> Poll<Result<(), PumpFault>> {
    Poll::Ready(Err(PumpFault::Connection(error)))
}
