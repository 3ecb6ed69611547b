//! The body of an answer: one piece at most, and trailers where gRPC wants them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::connection::InUse;

/// An answer's body.
#[derive(Debug, Default)]
pub struct Reply {
    piece: Option<Bytes>,
    trailers: Option<HeaderMap>,
    _in_use: Option<InUse>,
}

impl Reply {
    /// This piece alone.
    #[must_use]
    pub fn of(piece: Bytes) -> Self {
        Self {
            piece: Some(piece).filter(|piece| !piece.is_empty()),
            ..Self::default()
        }
    }

    /// The same with these trailers.
    #[must_use]
    pub fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self {
            trailers: Some(trailers),
            ..self
        }
    }

    /// The same on a connection that is in use until it is out.
    #[must_use]
    pub(super) fn using(self, in_use: InUse) -> Self {
        Self {
            _in_use: Some(in_use),
            ..self
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.piece.take() {
            Some(piece) => Some(Frame::data(piece)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.piece.as_ref().map_or(0, Bytes::len) as u64;
        match self.trailers {
            None => SizeHint::with_exact(length),
            Some(_) => SizeHint::default(),
        }
    }
}
