//! The body of an answer over a stream of HTTP/2. What is taken out of it gives the peer room for more, so it comes no faster
//! than the client reads. Dropped before its end, the stream is reset (RFC 9113 §8.7: `CANCEL`).

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::Frame;

use super::{Place, Sending};
use crate::upstream::framing::Framing;
use crate::upstream::head::AnswerHead;
use crate::upstream::trailers;

/// What is still to come of an answer.
#[derive(Debug)]
pub struct Incoming {
    /// `None` once it is over or has failed.
    stream: Option<(RecvStream, Place)>,
    /// The rest of the request.
    sending: Option<Box<Sending>>,
    left: Option<u64>,
    are_data_over: bool,
}

impl Incoming {
    /// What follows `head`; `None` for an answer that has no body, whatever comes.
    pub(super) fn new(stream: Option<RecvStream>, place: Place, head: &AnswerHead) -> Self {
        let left = match head.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked(_) | Framing::Trailers | Framing::UntilClose => None,
        };
        let stream = stream.filter(|stream| !stream.is_end_stream());
        Self {
            stream: stream.map(|stream| (stream, place)),
            sending: None,
            left,
            are_data_over: false,
        }
    }

    /// The same, and the rest of the request goes out meanwhile.
    pub(in crate::upstream) fn while_sending(self, sending: Box<Sending>) -> Self {
        Self {
            sending: Some(sending),
            ..self
        }
    }

    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.stream.is_none()
    }

    pub(in crate::upstream) fn bytes_left(&self) -> Option<u64> {
        self.left
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(sending) = &mut self.sending
            && !sending.is_over()
        {
            // When the rest is not taken, the answer may still come to its end.
            let _ = sending.poll(context);
        }
        let Some((stream, _)) = &mut self.stream else {
            return Poll::Ready(None);
        };
        while !self.are_data_over {
            match ready!(stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // It fails when the stream is over, which needs no room.
                    let _ = stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if stream.is_end_stream() {
                        self.stream = None;
                    } else if data.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return self.end(&error),
                None => self.are_data_over = true,
            }
        }
        match ready!(stream.poll_trailers(context)) {
            Ok(found) => {
                self.stream = None;
                let kept = match found.map(trailers::of_http2).transpose() {
                    Ok(kept) => kept,
                    Err(malformed) => {
                        let error = io::Error::new(io::ErrorKind::InvalidData, malformed);
                        return Poll::Ready(Some(Err(error)));
                    }
                };
                let kept = kept.filter(|kept| !kept.is_empty());
                Poll::Ready(kept.map(|kept| Ok(Frame::trailers(kept))))
            }
            Err(error) => self.end(&error),
        }
    }

    /// RFC 9113 §8.1: a peer that has answered in full may say that it wants no more of the request.
    fn end(&mut self, error: &h2::Error) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.stream = None;
        let is_answered = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
        let was_sending = self.sending.as_ref().is_some_and(|sending| !sending.is_over());
        if is_answered && was_sending && self.left.unwrap_or_default() == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(io::Error::other(format!(
            "the answer broke off: {error}"
        )))))
    }
}
