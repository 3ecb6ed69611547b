//! One request and its answer on one connection, both ways at once: an upstream may answer before it has read
//! the whole request. A strict HTTP/1.1 client of few lines, because the general one costs a task and two
//! channels a call.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;

use super::framing::{Framing, Malformed, Piece};
use super::head::{self, AnswerHead, Question, Read};
use super::pool::{Connection, EndpointPool};
use super::pump::{Pump, PumpFault};
use super::{Departure, trailers};
use crate::body::BodyFault;

/// Room for what comes in, at least.
const READ_BYTES: usize = 8 * 1024;
/// A piece of an answer's body handed on at once.
const MAX_READ_BYTES: usize = 64 * 1024;
/// Interim answers (1xx) to one request.
pub(super) const MAX_INTERIM: u32 = 64;
pub(super) const INTERIM_WITHOUT_END: Malformed = Malformed("the service sent interim answers without end");

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection broke before a byte of the request was written.
    Unsent,
    /// It broke after that, before a byte of the answer came.
    BrokenOff,
    /// It broke within the head of the answer, or the upstream gave this call up.
    CutShort,
    /// The upstream says that it has done nothing about the request (RFC 9113 §8.7).
    Refused,
    /// The answer breaks the rules.
    Malformed(Malformed),
    /// The client's body failed.
    Body(BodyFault),
}

/// Sends a request and reads the head of its answer. What is left of the request is written on by
/// [`Http1Answer`].
///
/// # Errors
/// See [`Failure`]; the connection must then not be used again.
pub async fn exchange(
    connection: &mut Connection,
    pump: &mut Pump,
    question: Question<'_>,
    departure: &impl Departure,
) -> Result<AnswerHead, Failure> {
    let (mut has_begun, mut is_broken, mut interim) = (false, false, 0);
    std::future::poll_fn(|context| {
        if !has_begun {
            // Before that nothing is read: it would be an answer that nobody asked for.
            match ready!(pump.begin(&mut connection.stream, context, departure)) {
                Err(PumpFault::Body(fault)) => return Poll::Ready(Err(Failure::Body(fault))),
                Err(PumpFault::Connection(_)) => return Poll::Ready(Err(Failure::Unsent)),
                Ok(()) => has_begun = true,
            }
        }
        if !is_broken && !pump.is_over() {
            match pump.poll(&mut connection.stream, context) {
                Poll::Ready(Err(PumpFault::Body(fault))) => return Poll::Ready(Err(Failure::Body(fault))),
                // It may have answered before it stopped to read.
                Poll::Ready(Err(PumpFault::Connection(_))) => is_broken = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        poll_head(connection, question, &mut interim, context)
    })
    .await
}

fn poll_head(
    connection: &mut Connection,
    question: Question<'_>,
    interim: &mut u32,
    context: &mut Context<'_>,
) -> Poll<Result<AnswerHead, Failure>> {
    loop {
        if !connection.buffer.is_empty() {
            match head::read(&mut connection.buffer, question) {
                Ok(Read::Final(head)) => return Poll::Ready(Ok(head)),
                Ok(Read::Interim) if *interim < MAX_INTERIM => {
                    *interim += 1;
                    continue;
                }
                Ok(Read::Interim) => return Poll::Ready(Err(Failure::Malformed(INTERIM_WITHOUT_END))),
                Ok(Read::Partial) => {}
                Err(malformed) => return Poll::Ready(Err(Failure::Malformed(malformed))),
            }
        }
        let read = ready!(poll_read(connection, context));
        if !read.is_ok_and(|count| count > 0) {
            let is_empty = connection.buffer.is_empty();
            return Poll::Ready(Err(if is_empty {
                Failure::BrokenOff
            } else {
                Failure::CutShort
            }));
        }
    }
}

fn poll_read(connection: &mut Connection, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    if connection.buffer.capacity() - connection.buffer.len() < 1_024 {
        connection.buffer.reserve(READ_BYTES);
    }
    let Connection { stream, buffer } = connection;
    tokio_util::io::poll_read_buf(Pin::new(stream), context, buffer)
}

/// The body of an answer in HTTP/1.1 as it comes, while the rest of the request goes out.
#[derive(Debug)]
pub struct Http1Answer {
    /// `None` once the body is over or has failed.
    connection: Option<Connection>,
    pool: Rc<EndpointPool>,
    framing: Framing,
    keeps_alive: bool,
    /// Whether as much came at once as there was room for at first.
    is_large: bool,
    pump: Option<Box<Pump>>,
}

impl Http1Answer {
    /// The body that follows `head` on this connection; `pump` when the request is not over.
    #[must_use]
    pub fn new(
        connection: Connection,
        pool: Rc<EndpointPool>,
        head: &AnswerHead,
        pump: Option<Pump>,
    ) -> Self {
        let mut stream = Self {
            connection: Some(connection),
            pool,
            framing: head.framing,
            keeps_alive: head.keeps_alive,
            is_large: false,
            pump: pump.map(Box::new),
        };
        if stream.framing == Framing::Length(0) {
            stream.finish();
        }
        stream
    }

    /// Whether the body has come to its end, or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    /// The connection itself, with what was read beyond the head: for a protocol that is none of ours.
    #[must_use]
    pub fn into_connection(mut self) -> Option<Connection> {
        self.connection.take()
    }

    /// How many bytes are to come, when that is known.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            Framing::Chunked(_) | Framing::Trailers | Framing::UntilClose => None,
        }
    }

    /// The next piece, and trailers after the last; `None` at the end.
    ///
    /// # Errors
    /// When the answer breaks off or breaks the rules.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.write_on(context);
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            if !connection.buffer.is_empty() {
                match take(&mut self.framing, connection) {
                    Ok(Some(frame)) => {
                        if self.framing == Framing::Length(0) {
                            self.finish();
                        }
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    Ok(None) if self.framing == Framing::Length(0) => {
                        self.finish();
                        continue;
                    }
                    Ok(None) => {}
                    Err(malformed) => {
                        return self.fail(io::Error::new(io::ErrorKind::InvalidData, malformed));
                    }
                }
            }
            // A large body is read in larger pieces. Room is made while next to nothing is in the buffer: what is read
            // makes it no larger, however much there is to read.
            if self.is_large && connection.buffer.capacity() - connection.buffer.len() < READ_BYTES {
                connection.buffer.reserve(MAX_READ_BYTES);
            }
            match ready!(poll_read(connection, context)) {
                Ok(0) if self.framing == Framing::UntilClose => {
                    self.finish();
                }
                Ok(0) => return self.fail(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.is_large |= count >= READ_BYTES,
                Err(error) => return self.fail(error),
            }
        }
    }

    fn write_on(&mut self, context: &mut Context<'_>) {
        let (Some(pump), Some(connection)) = (&mut self.pump, &mut self.connection) else {
            return;
        };
        match pump.poll(&mut connection.stream, context) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.pump = None,
            // The answer may still come to its end; the connection is of no more use after it.
            Poll::Ready(Err(_)) => {
                self.pump = None;
                self.keeps_alive = false;
            }
        }
    }

    fn finish(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // Bytes beyond the answer's end are an answer that nobody asked for.
        if self.keeps_alive && self.pump.is_none() && connection.buffer.is_empty() {
            self.pool.keep(connection);
        }
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.connection = None;
        Poll::Ready(Some(Err(error)))
    }
}

/// Takes the next piece of the body out of what was read; `None` when there is none in it, and
/// `Framing::Length(0)` then says that the body is over.
fn take(framing: &mut Framing, connection: &mut Connection) -> Result<Option<Frame<Bytes>>, Malformed> {
    let buffer = &mut connection.buffer;
    let data = |piece: Bytes| Some(Frame::data(piece));
    match framing {
        Framing::UntilClose => Ok(data(buffer.split().freeze())),
        Framing::Length(left) => {
            let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
            *left -= length as u64;
            Ok(data(buffer.split_to(length).freeze()).filter(|_| length > 0))
        }
        Framing::Chunked(chunks) => {
            let (used, piece) = chunks.read(buffer)?;
            buffer.advance(used);
            match piece {
                Piece::Data(length) => Ok(data(buffer.split_to(length).freeze())),
                Piece::Hungry => Ok(None),
                Piece::Over => {
                    *framing = Framing::Trailers;
                    take_trailers(framing, buffer)
                }
            }
        }
        Framing::Trailers => take_trailers(framing, buffer),
    }
}

fn take_trailers(framing: &mut Framing, buffer: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Malformed> {
    let Some(trailers) = trailers::read(buffer)? else {
        return Ok(None);
    };
    *framing = Framing::Length(0);
    Ok(Some(Frame::trailers(trailers))
        .filter(|frame| frame.trailers_ref().is_some_and(|map| !map.is_empty())))
}
