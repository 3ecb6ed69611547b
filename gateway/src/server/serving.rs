//! How the library that reads HTTP from a client is used, on every listener: bounded as configured, without a clock of its own
//! for what the watcher ends (`watch.rs`), and until the connection's state says that it is over.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use keyward_config::{Bounds, GatewayConfig};

use super::watch::ConnectionState;

/// The least that hyper takes as its buffer.
const SMALLEST_BUFFER: usize = 8 * 1024;
/// Calls that a client took back before they were looked at (the rapid reset of CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Streams that were reset because of what the client did on them.
const LOCAL_RESETS: usize = 256;

/// HTTP/1.1 within these bounds.
#[must_use]
pub fn http1(bounds: &Bounds) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(bounds.head.max(SMALLEST_BUFFER))
        .max_headers(bounds.headers)
        .max_header_size(bounds.head)
        // The watcher keeps the time; hyper needs no timer.
        .header_read_timeout(None)
        .half_close(false);
    builder
}

/// HTTP/2 as configured; its streams run on `executor`.
#[must_use]
pub fn http2<E>(executor: E, config: &GatewayConfig) -> http2::Builder<E> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(config.timeouts.http2_ping)
        .keep_alive_timeout(config.timeouts.http2_ping)
        .max_concurrent_streams(config.bounds.http2_streams)
        .max_header_list_size(u32::try_from(config.bounds.head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS);
    builder
}

/// Runs a connection until it ends by itself, is aborted, or has finished what it had begun when it was told to end.
pub async fn until_ended<C: Future>(
    state: &ConnectionState,
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
) {
    let mut is_told = false;
    poll_fn(|context| {
        if state.is_ended() {
            return Poll::Ready(());
        }
        if state.is_to_end() && !is_told {
            is_told = true;
            shut_down(connection.as_mut());
        }
        // What goes wrong on a connection is the other side's to see.
        let polled = connection.as_mut().poll(context).map(drop);
        if polled.is_pending() {
            state.note(context);
        }
        polled
    })
    .await;
}
