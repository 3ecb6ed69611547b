//! One connection of somebody who asks: HTTP/1.1, or HTTP/2 by prior knowledge, told apart by the first three bytes.
//!
//! What is silent, slow or stuck ends as on the listener of the calls (`server/watch.rs`). On HTTP/2, where streams come
//! and go at the same time, that holds until the first question; afterwards the connection ends when it was idle for
//! `timeouts.idle` up to twice that, when a ping is not answered, or when a write is stuck.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;

use super::Asker;
use crate::deadlines::TICK;
use crate::server::watch::{ConnectionState, WatchedStream};

/// How every HTTP/2 connection begins (RFC 9113 §3.4); no method does.
const PREFACE: &[u8; 3] = b"PRI";
/// Questions at the same time on one connection.
const STREAMS: u32 = 256;
/// Streams that may be reset before anybody looked at them, and for errors of the other side.
const RESETS: usize = 32;
/// How often the other side is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it has to answer.
const PING_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
}

/// Answers everything that is asked on a connection, until it ends.
pub async fn serve(asker: Asker, stream: TcpStream, state: &Rc<ConnectionState>) {
    let first_byte = asker.worker.shared().config.timeouts.first_byte;
    let spoken = tokio::time::timeout(first_byte, spoken(&stream, state)).await;
    match spoken.ok().flatten() {
        Some(Spoken::Http1) => serve_http1(asker, stream, state).await,
        Some(Spoken::Http2) => serve_http2(asker, stream, state).await,
        None => {}
    }
}

/// `None` when the connection ended, or is to end, before that was known.
async fn spoken(stream: &TcpStream, state: &ConnectionState) -> Option<Spoken> {
    let mut first = [0; PREFACE.len()];
    loop {
        // Looked at again in a while: half a preface makes the socket readable for ever.
        let read = match tokio::time::timeout(TICK, stream.peek(&mut first)).await {
            Ok(read) => first.get(..read.ok()?)?,
            Err(_) => &[],
        };
        match read {
            [] if state.is_to_end() || is_at_its_end(stream) => return None,
            [] => {}
            whole if whole == PREFACE => return Some(Spoken::Http2),
            begun if PREFACE.starts_with(begun) => tokio::time::sleep(TICK).await,
            _ => return Some(Spoken::Http1),
        }
    }
}

fn is_at_its_end(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::new(0)];
    matches!(socket2::SockRef::from(stream).peek(&mut byte), Ok(0))
}

async fn serve_http1(asker: Asker, stream: TcpStream, state: &Rc<ConnectionState>) {
    let bounds = asker.worker.shared().config.bounds;
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(bounds.head.max(8 * 1024))
        .max_headers(bounds.headers)
        .max_header_size(bounds.head)
        // The watcher keeps the time; hyper needs no timer.
        .header_read_timeout(None)
        .half_close(false);
    let uses = Uses::new(Spoken::Http1, state);
    let connection = builder.serve_connection(
        WatchedStream::new(stream, Rc::clone(state)),
        service_fn(|request| uses.answer(&asker, request)),
    );
    drive(
        state,
        pin!(connection),
        http1::Connection::graceful_shutdown,
        None,
    )
    .await;
}

async fn serve_http2(asker: Asker, stream: TcpStream, state: &Rc<ConnectionState>) {
    let config = &asker.worker.shared().config;
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(u32::try_from(config.bounds.head).unwrap_or(u32::MAX));
    let uses = Uses::new(Spoken::Http2, state);
    let idle = Idle::new(&uses, config.timeouts.idle);
    let service = service_fn(|request| {
        let (uses, asker) = (uses.clone(), asker.clone());
        async move { uses.answer(&asker, request).await }
    });
    let connection = builder.serve_connection(WatchedStream::new(stream, Rc::clone(state)), service);
    drive(
        state,
        pin!(connection),
        http2::Connection::graceful_shutdown,
        Some(idle),
    )
    .await;
}

/// Runs a connection until it ends by itself, is aborted, or has finished what it had begun when it was told to end.
async fn drive<C: Future>(
    state: &ConnectionState,
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    mut idle: Option<Idle>,
) {
    let mut is_told = false;
    poll_fn(|context| {
        if state.is_aborted() {
            return Poll::Ready(());
        }
        let is_idle = idle.as_mut().is_some_and(|idle| idle.is_over(context));
        if (state.is_to_end() || is_idle) && !is_told {
            is_told = true;
            shut_down(connection.as_mut());
        }
        state.note(context);
        connection.as_mut().poll(context).map(drop)
    })
    .await;
}

/// Whether a connection is in use.
#[derive(Clone, Debug)]
struct Uses {
    spoken: Spoken,
    state: Rc<ConnectionState>,
    now: Rc<Cell<usize>>,
    was_used: Rc<Cell<bool>>,
}

impl Uses {
    fn new(spoken: Spoken, state: &Rc<ConnectionState>) -> Self {
        Self {
            spoken,
            state: Rc::clone(state),
            now: Rc::default(),
            was_used: Rc::default(),
        }
    }

    async fn answer(
        &self,
        asker: &Asker,
        request: Request<Incoming>,
    ) -> Result<http::Response<super::Reply>, Infallible> {
        let in_use = self.begin();
        let answer = super::answer(asker, request).await;
        Ok(answer.map(|reply| reply.using(in_use)))
    }

    fn begin(&self) -> InUse {
        match self.spoken {
            Spoken::Http1 => self.state.call_began(),
            Spoken::Http2 => self.state.tunnel_began(),
        }
        self.now.set(self.now.get() + 1);
        self.was_used.set(true);
        InUse(self.clone())
    }
}

/// One question on a connection, from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct InUse(Uses);

impl Drop for InUse {
    fn drop(&mut self) {
        let Self(uses) = self;
        uses.now.set(uses.now.get().saturating_sub(1));
        if uses.spoken == Spoken::Http1 {
            uses.state.call_over();
        }
    }
}

/// Ends a connection on which nothing was asked from one tick of it to the next.
#[derive(Debug)]
struct Idle {
    uses: Uses,
    ticks: tokio::time::Interval,
}

impl Idle {
    fn new(uses: &Uses, every: Duration) -> Self {
        let every = every.max(TICK);
        Self {
            uses: uses.clone(),
            ticks: tokio::time::interval_at(tokio::time::Instant::now() + every, every),
        }
    }

    fn is_over(&mut self, context: &mut std::task::Context<'_>) -> bool {
        while self.ticks.poll_tick(context).is_ready() {
            if !self.uses.was_used.replace(false) && self.uses.now.get() == 0 {
                return true;
            }
        }
        false
    }
}

/// Runs the streams of an HTTP/2 connection on its worker's thread.
#[derive(Clone, Copy, Debug)]
struct OnThisThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(async move {
            stream.await;
        });
    }
}
