//! Bodies in both directions: streamed with back-pressure, counted, bounded, never buffered whole.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::call::Call;
use crate::server::watch::ConnectionState;
use crate::upstream::Lease;

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
    fault: Cell<Option<BodyFault>>,
    bytes: Cell<u64>,
    is_over: Cell<bool>,
}

impl BodyFate {
    /// Why it did not come to its end.
    #[must_use]
    pub fn fault(&self) -> Option<BodyFault> {
        self.fault.get()
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
        let fate = Rc::<BodyFate>::default();
        let incoming = Some(incoming).filter(|incoming| !incoming.is_end_stream());
        fate.is_over.set(incoming.is_none());
        (Self { incoming, left: bound, fate: Rc::clone(&fate), connection }, fate)
    }

    /// No body.
    #[must_use]
    pub fn empty(connection: Rc<ConnectionState>) -> Self {
        let fate = Rc::<BodyFate>::default();
        fate.is_over.set(true);
        Self { incoming: None, left: 0, fate, connection }
    }

    fn end(&mut self, fault: Option<BodyFault>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.incoming = None;
        self.fate.is_over.set(fault.is_none());
        self.fate.fault.set(fault);
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
            let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
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
            self.fate.bytes.set(self.fate.bytes.get() + data.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an answer to the client; it carries the call, which is settled when this is dropped.
#[derive(Debug)]
pub struct AnswerBody {
    kind: Kind,
    call: Option<Box<Call>>,
    fate: Option<Rc<BodyFate>>,
    connection: Rc<ConnectionState>,
}

#[derive(Debug)]
enum Kind {
    /// One piece, made here.
    Fixed(Option<Bytes>),
    /// What the upstream sends, and the connection that it comes on.
    Streamed(Incoming, Option<Lease>),
    /// Over.
    Done,
}

impl AnswerBody {
    /// A body made here.
    #[must_use]
    pub fn fixed(bytes: Bytes, call: Box<Call>, connection: Rc<ConnectionState>) -> Self {
        Self { kind: Kind::Fixed(Some(bytes).filter(|b| !b.is_empty())), call: Some(call), fate: None, connection }
    }

    /// The upstream's body; its connection goes back to the pool when the body has come to its end.
    #[must_use]
    pub fn streamed(
        incoming: Incoming,
        lease: Lease,
        call: Box<Call>,
        fate: Rc<BodyFate>,
        connection: Rc<ConnectionState>,
    ) -> Self {
        let kind = if incoming.is_end_stream() {
            lease.give_back(fate.is_over());
            Kind::Done
        } else {
            Kind::Streamed(incoming, Some(lease))
        };
        Self { kind, call: Some(call), fate: Some(fate), connection }
    }

    fn count(&self, bytes: usize) {
        if let Some(call) = &self.call {
            call.add_bytes_out(bytes);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        match &mut this.kind {
            Kind::Done => Poll::Ready(None),
            Kind::Fixed(bytes) => {
                let bytes = bytes.take();
                this.kind = Kind::Done;
                this.count(bytes.as_ref().map_or(0, Bytes::len));
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Streamed(incoming, lease) => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(context));
                let is_over = frame.is_none() || incoming.is_end_stream();
                if is_over && !matches!(frame, Some(Err(_))) {
                    if let Some(lease) = lease.take() {
                        lease.give_back(this.fate.as_ref().is_none_or(|fate| fate.is_over()));
                    }
                    this.kind = Kind::Done;
                }
                if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                    this.count(data.len());
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Done | Kind::Fixed(None) => true,
            Kind::Fixed(Some(_)) => false,
            Kind::Streamed(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Done | Kind::Fixed(None) => SizeHint::with_exact(0),
            Kind::Fixed(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streamed(incoming, _) => incoming.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.connection.call_over();
        let Some(call) = &self.call else { return };
        if let Some(fate) = &self.fate {
            call.add_bytes_in(usize::try_from(fate.bytes()).unwrap_or(usize::MAX));
        }
        if matches!(self.kind, Kind::Streamed(..)) {
            call.cut_short();
        }
    }
}
