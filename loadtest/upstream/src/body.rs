//! The bodies that answers have: whole, a given number of bytes, or a given number of chunks.
//!
//! The generated ones hold one piece and a count, whatever their length, and are made as fast as the
//! client reads.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

const PIECE: &[u8; 16 * 1024] = &[b'x'; 16 * 1024];

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All at once; with `Content-Length`.
    Whole(Bytes),
    /// That many `x`; with `Content-Length`.
    Bytes(u64),
    /// That many lines, `chunk 0`, `chunk 1` …, each a chunk of its own; without `Content-Length`.
    Chunks {
        /// The number of the next one.
        next: u64,
        /// How many there are.
        total: u64,
    },
}

impl AnswerBody {
    fn next_piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Whole(whole) if whole.is_empty() => None,
            Self::Whole(whole) => Some(std::mem::take(whole)),
            Self::Bytes(0) => None,
            Self::Bytes(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE.len());
                *left -= length as u64;
                Some(Bytes::from_static(PIECE).slice(..length))
            }
            Self::Chunks { next, total } => {
                if next >= total {
                    return None;
                }
                let line = format!("chunk {next}\n");
                *next += 1;
                Some(Bytes::from(line))
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_empty(),
            Self::Bytes(left) => *left == 0,
            // Said only by the end itself, so that even no chunks at all are sent chunked.
            Self::Chunks { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Self::Bytes(left) => SizeHint::with_exact(*left),
            Self::Chunks { .. } => SizeHint::default(),
        }
    }
}
