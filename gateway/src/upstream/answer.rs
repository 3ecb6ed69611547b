//! The body of an answer as it comes, whatever it comes over, while the rest of the request goes out.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::exchange::{self, Failure, Http1Answer};
use super::head::{AnswerHead, Question};
use super::pool::{Connection, EndpointPool, Line};
use super::pump::{BodyFraming, Pump};
use super::request::RequestHead;
use super::{Departure, http2};
use crate::body::RequestBody;

/// A request on its way out.
#[derive(Debug)]
pub(super) enum Outgoing {
    Http1(Pump),
    Http2(Box<http2::Sending>),
}

/// An answer whose head has come.
#[derive(Debug)]
pub(super) enum Arriving {
    Http1(Connection),
    Http2(http2::Incoming),
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerStream {
    /// Over a connection of its own.
    Http1(Http1Answer),
    /// Over a stream of HTTP/2.
    Http2(http2::Incoming),
}

impl Outgoing {
    /// `None` when the head can't be said in the upstream's protocol.
    pub(super) fn new(head: RequestHead, body: RequestBody, framing: BodyFraming) -> Option<Self> {
        Some(match head {
            RequestHead::Http1(head) => Self::Http1(Pump::new(head, body, framing)),
            RequestHead::Http2(fields) => {
                Self::Http2(Box::new(http2::Sending::new(fields.into_request()?, body)))
            }
        })
    }

    /// Whether everything is handed over.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Http1(pump) => pump.is_over(),
            Self::Http2(sending) => sending.is_over(),
        }
    }

    /// Whether it can begin again: nothing of a body has been used.
    pub(super) fn can_rewind(&self) -> bool {
        match self {
            Self::Http1(pump) => pump.can_rewind(),
            Self::Http2(sending) => sending.can_rewind(),
        }
    }

    /// Begins again, on another connection.
    pub(super) fn rewind(&mut self) {
        match self {
            Self::Http1(pump) => pump.rewind(),
            Self::Http2(sending) => sending.rewind(),
        }
    }

    /// The buffer, to be used again, where there is one.
    pub(super) fn into_buffer(self) -> Option<Vec<u8>> {
        match self {
            Self::Http1(pump) => Some(pump.into_buffer()),
            Self::Http2(_) => None,
        }
    }

    /// Sends it over this line, and waits for the head of its answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn exchange(
        &mut self,
        line: Line,
        question: Question<'_>,
        departure: &impl Departure,
    ) -> Result<(AnswerHead, Arriving), Failure> {
        match (self, line) {
            (Self::Http1(pump), Line::Http1(mut connection)) => {
                let head = exchange::exchange(&mut connection, pump, question, departure).await?;
                Ok((head, Arriving::Http1(connection)))
            }
            (Self::Http2(sending), Line::Http2(place)) => {
                let (head, incoming) = http2::exchange(place, sending, question, departure).await?;
                Ok((head, Arriving::Http2(incoming)))
            }
            // Both follow the upstream's protocol.
            (Self::Http1(_), Line::Http2(_)) | (Self::Http2(_), Line::Http1(_)) => Err(Failure::Unsent),
        }
    }
}

impl AnswerStream {
    /// The body that follows `head`; `unfinished` when the request is not over.
    pub(super) fn new(
        arriving: Arriving,
        pool: Rc<EndpointPool>,
        head: &AnswerHead,
        unfinished: Option<Outgoing>,
    ) -> Self {
        match (arriving, unfinished) {
            (Arriving::Http1(connection), Some(Outgoing::Http1(pump))) => {
                Self::Http1(Http1Answer::new(connection, pool, head, Some(pump)))
            }
            (Arriving::Http1(connection), _) => Self::Http1(Http1Answer::new(connection, pool, head, None)),
            (Arriving::Http2(incoming), Some(Outgoing::Http2(sending))) => {
                Self::Http2(incoming.while_sending(sending))
            }
            (Arriving::Http2(incoming), _) => Self::Http2(incoming),
        }
    }

    /// Whether the body has come to its end, or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Http1(answer) => answer.is_over(),
            Self::Http2(answer) => answer.is_over(),
        }
    }

    /// The connection itself, with what was read beyond the head: for a protocol that is none of ours. `None` where
    /// others use it too.
    #[must_use]
    pub fn into_connection(self) -> Option<Connection> {
        match self {
            Self::Http1(answer) => answer.into_connection(),
            Self::Http2(_) => None,
        }
    }

    /// How many bytes are to come, when that is known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::Http1(answer) => answer.bytes_left(),
            Self::Http2(answer) => answer.bytes_left(),
        }
    }

    /// The next piece, and trailers after the last; `None` at the end.
    ///
    /// # Errors
    /// When the answer breaks off or breaks the rules.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self {
            Self::Http1(answer) => answer.poll_frame(context),
            Self::Http2(answer) => answer.poll_frame(context),
        }
    }
}
