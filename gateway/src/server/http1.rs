//! One HTTP/1.1 connection: its calls one after the other, and what it goes on with after an upgrade.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::farewell;
use super::strict::StrictStream;
use super::watch::{ConnectionState, WatchedStream};
use crate::connection::Connection;
use crate::{pipeline, tunnel};

/// The least that hyper takes as its buffer.
const SMALLEST_BUFFER: usize = 8 * 1024;

/// Serves until the client or the gateway ends it.
pub(super) async fn serve(stream: WatchedStream, connection: Rc<Connection>, state: &Rc<ConnectionState>) {
    let bounds = connection.worker().terms().rules().config.bounds;
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(bounds.head.max(SMALLEST_BUFFER))
        .max_headers(bounds.headers)
        .max_header_size(bounds.head)
        // The watcher keeps the time; hyper needs no timer.
        .header_read_timeout(None)
        .half_close(false);
    let service = service_fn(|request| {
        let connection = Rc::clone(&connection);
        // In a box that is made for the call: the library keeps room for the whole of it as long as the connection is open.
        async move {
            let answer = Box::pin(pipeline::serve(&connection, request)).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let stream = StrictStream::new(stream, Rc::clone(state));
    let mut serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut is_told = false;
    let ended = poll_fn(|context| {
        if state.is_aborted() {
            return Poll::Ready(Ok(()));
        }
        if state.is_to_end() && !is_told {
            is_told = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        match Pin::new(&mut serving).poll(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => {
                state.note(context);
                Poll::Pending
            }
        }
    })
    .await;
    let switched = connection.take_switched().filter(|_| !state.is_aborted());
    let parts = serving.into_parts();
    let stream = parts.io.into_inner();
    match switched {
        Some(switched) if ended.is_ok() => {
            Box::pin(tunnel::run(stream.into_inner(), parts.read_buf, *switched, state)).await;
        }
        _ => Box::pin(farewell::say(&connection, stream, &parts.read_buf)).await,
    }
}
