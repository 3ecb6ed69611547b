//! Bodies in both directions: streamed with back-pressure, counted, bounded, never buffered whole.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::call::Call;
use crate::grpc;
use crate::server::unread::ClientBody;
use crate::server::watch::ConnectionState;
use crate::upstream::answer::AnswerStream;

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
    is_awaited: Cell<bool>,
    moved_at: Cell<Duration>,
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

    /// Whether more of it is wanted than the client has sent.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_awaited.get()
    }

    /// When the last piece of it went on, as of the worker's last tick, monotonic; zero when none did.
    #[must_use]
    pub fn moved_at(&self) -> Duration {
        self.moved_at.get()
    }
}

/// A client's request body on its way to the upstream.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Option<ClientBody>,
    left: u64,
    fate: Rc<BodyFate>,
    connection: Rc<ConnectionState>,
    trailers: Trailers,
}

/// What becomes of the trailers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailers {
    /// They are dropped: a field named there could say who the caller is, after the head was checked.
    Dropped,
    /// What gRPC defines goes on.
    OfGrpc,
}

impl RequestBody {
    /// Takes the client's body, at most `bound` bytes of it.
    #[must_use]
    pub fn new(incoming: ClientBody, bound: u64, connection: Rc<ConnectionState>) -> (Self, Rc<BodyFate>) {
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
                trailers: Trailers::Dropped,
            },
            fate,
        )
    }

    /// The same, with these of its trailers.
    #[must_use]
    pub fn with(mut self, trailers: Trailers) -> Self {
        self.trailers = trailers;
        self
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
                self.fate.is_awaited.set(true);
                if self.connection.is_ended() {
                    return self.end(Some(BodyFault::Client));
                }
                return Poll::Pending;
            };
            self.connection.got_body();
            self.fate.is_awaited.set(false);
            self.fate.moved_at.set(self.connection.ticked());
            let data = match frame {
                None => return self.end(None),
                Some(Err(_)) => return self.end(Some(BodyFault::Client)),
                Some(Ok(frame)) => frame.into_data(),
            };
            let data = match data {
                Ok(data) => data,
                // A frame that is no data: trailers, which are the last of a body.
                Err(frame) => match (frame.into_trailers(), self.trailers) {
                    (Ok(trailers), Trailers::OfGrpc) => {
                        let trailers = grpc::of_request(trailers);
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    _ => continue,
                },
            };
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
    /// How the answer ends, when the gateway ends it.
    pub last_word: LastWord,
}

/// What can be said at the end of an answer that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastWord {
    /// Nothing: it breaks off.
    None,
    /// How the call went, in trailers (gRPC over HTTP/2).
    GrpcStatus,
    /// It has been said.
    Said,
}

impl Streamed {
    fn poll(
        &mut self,
        call: &mut Call,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.last_word == LastWord::GrpcStatus && call.is_cut() {
            return self.say(
                grpc::UNAUTHENTICATED,
                "the key, its account or its address has lost its rights",
            );
        }
        match self.stream.poll_frame(context) {
            Poll::Ready(frame) => {
                if let Some(Err(_)) = &frame {
                    call.broke_off();
                }
                Poll::Ready(frame)
            }
            Poll::Pending if call.is_late(self.deadline, context) => {
                call.stalled();
                match self.last_word {
                    LastWord::GrpcStatus => self.say(grpc::DEADLINE_EXCEEDED, "the call has taken too long"),
                    LastWord::None | LastWord::Said => Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into()))),
                }
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn say(&mut self, status: u16, message: &'static str) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.last_word = LastWord::Said;
        Poll::Ready(Some(Ok(Frame::trailers(grpc::trailers(status, message)))))
    }
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
        connection.gave_answer();
        Self {
            kind: Kind::Fixed(Some(bytes).filter(|bytes| !bytes.is_empty())),
            call: Some(call),
            connection,
        }
    }

    /// An upstream's body.
    #[must_use]
    pub fn streamed(streamed: Streamed, call: Box<Call>, connection: Rc<ConnectionState>) -> Self {
        if streamed.last_word == LastWord::GrpcStatus {
            connection.ends_with_status();
        }
        connection.gave_answer();
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
            Kind::Streamed(streamed) if streamed.last_word == LastWord::Said => None,
            Kind::Streamed(streamed) => match streamed.poll(call, context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => Some(Ok(bytes)),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(Some(Err(error))) => Some(Err(error)),
                Poll::Ready(None) => None,
                Poll::Pending => {
                    this.connection.waits_for_answer();
                    return Poll::Pending;
                }
            },
        };
        this.connection.gave_answer();
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
