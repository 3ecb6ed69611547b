//! Bodies in both directions: streamed with back-pressure, counted, bounded, never buffered whole.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::call::Call;
use crate::server::watch::ConnectionState;
use crate::upstream::exchange::AnswerStream;

/// Why a request body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The client sent something that is no body, or went away.
    #[error("the request body is malformed or broke off")]
    Client,
    /// It is longer than the route allows.
    #[error("the request body is too large")]
    TooLarge,
}

/// How a request body fared, seen by the step that forwards.
#[derive(Debug, Default)]
pub struct BodyFate {
    bound: u64,
    bytes: Cell<u64>,
    is_over: Cell<bool>,
}

impl BodyFate {
    /// Bytes that it may have at most.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// Bytes that went on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether it has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }
}

/// A client's request body on its way to the upstream. Trailers are not forwarded: a field named there could
/// say who the caller is, after the head was checked.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<Incoming>,
    left: u64,
    fate: Rc<BodyFate>,
    connection: Rc<ConnectionState>,
}

impl RequestBody {
    /// Takes the client's body, at most `bound` bytes of it.
    #[must_use]
    pub fn new(incoming: Incoming, bound: u64, connection: Rc<ConnectionState>) -> (Self, Rc<BodyFate>) {
        let fate = Rc::new(BodyFate {
            bound,
            ..BodyFate::default()
        });
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        fate.is_over.set(incoming.is_none());
        (
            Self {
                incoming,
                left: bound,
                fate: Rc::clone(&fate),
                connection,
            },
            fate,
        )
    }

    fn end(&mut self, fault: Option<BodyFault>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.incoming = None;
        self.fate.is_over.set(fault.is_none());
        if fault.is_none() {
            self.connection.body_over();
        }
        Poll::Ready(fault.map(Err))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        loop {
            let Some(incoming) = &mut self.incoming else {
                return Poll::Ready(None);
            };
            let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
                self.connection.waits_for_body();
                return Poll::Pending;
            };
            self.connection.got_body();
            let data = match frame {
                None => return self.end(None),
                Some(Err(_)) => return self.end(Some(BodyFault::Client)),
                Some(Ok(frame)) => frame.into_data(),
            };
            // Trailers come as a frame that is no data; they end here.
            let Ok(data) = data else { continue };
            let Some(left) = self.left.checked_sub(data.len() as u64) else {
                return self.end(Some(BodyFault::TooLarge));
            };
            self.left = left;
            self.connection.add_body(data.len());
            // Of a sized body nobody asks for the end.
            if self.incoming.as_ref().is_some_and(Body::is_end_stream) {
                let _ = self.end(None);
            }
            self.fate.bytes.set(self.fate.bytes.get() + data.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an answer to the client; it carries the call, which is settled when this is dropped.
#[derive(Debug)]
pub struct AnswerBody {
    kind: Kind,
    /// `None` when the call goes on without this body.
    call: Option<Box<Call>>,
    connection: Rc<ConnectionState>,
}

#[derive(Debug)]
enum Kind {
    /// One piece, made here.
    Fixed(Option<Bytes>),
    /// What the upstream sends.
    Streamed(Streamed),
}

/// An upstream's answer on its way, with what it depends on.
#[derive(Debug)]
pub struct Streamed {
    /// The answer's body.
    pub stream: Box<AnswerStream>,
    /// How the request's body fares.
    pub fate: Rc<BodyFate>,
    /// When the whole call is over, monotonic.
    pub deadline: Duration,
}

impl AnswerBody {
    /// No body, of a call that goes on.
    #[must_use]
    pub fn none(connection: Rc<ConnectionState>) -> Self {
        Self {
            kind: Kind::Fixed(None),
            call: None,
            connection,
        }
    }

    /// A body made here.
    #[must_use]
    pub fn fixed(bytes: Bytes, call: Box<Call>, connection: Rc<ConnectionState>) -> Self {
        Self {
            kind: Kind::Fixed(Some(bytes).filter(|bytes| !bytes.is_empty())),
            call: Some(call),
            connection,
        }
    }

    /// An upstream's body.
    #[must_use]
    pub fn streamed(streamed: Streamed, call: Box<Call>, connection: Rc<ConnectionState>) -> Self {
        Self {
            kind: Kind::Streamed(streamed),
            call: Some(call),
            connection,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else {
            return Poll::Ready(None);
        };
        let piece = match &mut this.kind {
            Kind::Fixed(bytes) => bytes.take().map(Ok),
            Kind::Streamed(streamed) => match streamed.stream.poll_piece(context) {
                Poll::Ready(piece) => piece,
                Poll::Pending if call.is_late(streamed.deadline, context) => {
                    Some(Err(io::ErrorKind::TimedOut.into()))
                }
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(Ok(bytes)) = &piece {
            call.add_bytes_out(bytes.len());
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Fixed(bytes) => bytes.is_none(),
            Kind::Streamed(streamed) => streamed.stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Fixed(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Streamed(streamed) => streamed
                .stream
                .bytes_left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.connection.call_over();
        if let (Kind::Streamed(streamed), Some(call)) = (&self.kind, &self.call) {
            call.add_bytes_in(streamed.fate.bytes());
            if !streamed.stream.is_over() {
                call.cut_short();
            }
        }
    }
}
