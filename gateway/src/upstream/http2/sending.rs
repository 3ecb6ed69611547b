//! A request on its way out over a stream of HTTP/2: as fast as the peer's windows allow, and no faster than it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;
use http_body::Body;

use crate::body::{BodyFault, RequestBody};
use crate::upstream::Departure;

/// A request.
#[derive(Debug)]
pub struct Sending {
    head: Request<()>,
    body: RequestBody,
    /// `None` before it has begun, and when all of it is handed over.
    stream: Option<SendStream<Bytes>>,
    /// What was taken of the body and not handed over.
    piece: Bytes,
    /// All of it is handed over.
    is_over: bool,
    /// Something of the body was taken: it can't begin again.
    is_spent: bool,
}

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub(super) enum SendFault {
    /// The client's body.
    Body(BodyFault),
    /// The upstream takes no more of it.
    Stream,
}

impl Sending {
    pub(in crate::upstream) fn new(head: Request<()>, body: RequestBody) -> Self {
        Self {
            head,
            body,
            stream: None,
            piece: Bytes::new(),
            is_over: false,
            is_spent: false,
        }
    }

    /// Whether all of it is handed over.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether nothing of a body has been used.
    pub(in crate::upstream) fn can_rewind(&self) -> bool {
        !self.is_spent
    }

    /// Begins again, on another stream.
    pub(in crate::upstream) fn rewind(&mut self) {
        self.reset();
        self.is_over = false;
    }

    /// Gives the stream up, as far as it goes on.
    pub(super) fn reset(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.send_reset(Reason::CANCEL);
        }
    }

    /// Hands the head over, and counts the call in the same turn: nothing of it can have been written yet.
    ///
    /// # Errors
    /// When the connection takes no more calls; nothing was handed over then.
    pub(super) fn begin(
        &mut self,
        sender: &mut SendRequest<Bytes>,
        departure: &impl Departure,
    ) -> Result<ResponseFuture, h2::Error> {
        let is_whole = self.body.is_end_stream();
        let (answer, stream) = sender.send_request(self.head.clone(), is_whole)?;
        departure.hand_over();
        self.is_over = is_whole;
        self.stream = Some(stream).filter(|_| !is_whole);
        Ok(answer)
    }

    /// Hands over as much as can be now, after [`Self::begin`].
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendFault>> {
        while let Some(stream) = &mut self.stream {
            if !self.piece.is_empty() {
                let room = ready!(poll_room(stream, self.piece.len(), context));
                let piece = self.piece.split_to(room?);
                let is_last = self.piece.is_empty() && self.body.is_end_stream();
                send(stream, piece, is_last)?;
                if is_last {
                    self.finish();
                }
                continue;
            }
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(Err(SendFault::Stream));
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            self.is_spent = true;
            match frame
                .transpose()
                .map_err(SendFault::Body)?
                .map(http_body::Frame::into_data)
            {
                Some(Ok(data)) if data.is_empty() && !self.body.is_end_stream() => {}
                Some(Ok(data)) if data.is_empty() => {
                    send(stream, data, true)?;
                    self.finish();
                }
                Some(Ok(data)) => self.piece = data,
                Some(Err(frame)) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    stream.send_trailers(trailers).map_err(|_| SendFault::Stream)?;
                    self.finish();
                }
                None => {
                    send(stream, Bytes::new(), true)?;
                    self.finish();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) {
        self.stream = None;
        self.is_over = true;
    }
}

fn send(stream: &mut SendStream<Bytes>, piece: Bytes, is_last: bool) -> Result<(), SendFault> {
    stream.send_data(piece, is_last).map_err(|_| SendFault::Stream)
}

/// How many of these bytes the peer's windows have room for; at least one.
fn poll_room(
    stream: &mut SendStream<Bytes>,
    wanted: usize,
    context: &mut Context<'_>,
) -> Poll<Result<usize, SendFault>> {
    stream.reserve_capacity(wanted);
    loop {
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(stream.capacity().min(wanted)));
        }
        match ready!(stream.poll_capacity(context)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(Err(SendFault::Stream)),
        }
    }
}
