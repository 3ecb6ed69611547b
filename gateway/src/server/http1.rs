//! One HTTP/1.1 connection: its calls one after the other, and what it goes on with after an upgrade.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::farewell;
use super::serving;
use super::strict::StrictStream;
use super::watch::{ConnectionState, WatchedStream};
use crate::connection::Connection;
use crate::{pipeline, tunnel};

/// Serves until the client or the gateway ends it.
pub(super) async fn serve(stream: WatchedStream, connection: Rc<Connection>, state: &Rc<ConnectionState>) {
    let bounds = connection.worker().terms().rules().config.bounds;
    let builder = serving::http1(&bounds);
    let mut stream = StrictStream::new(stream, Rc::clone(state));
    let (ended, unread) = loop {
        let (stop, left, unread) = until_idle(&builder, stream, &connection).await;
        stream = left;
        match stop {
            Stop::Ended(ended) => break (ended, unread),
            // Who is at rest has sent nothing of another head, but perhaps empty lines, which mean nothing.
            Stop::Dozing if unread.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => drop(unread),
            Stop::Dozing => break (false, unread),
        }
        let dozing = connection.worker().telemetry().dozing();
        // It has no buffers now, and needs none until its client says something.
        if !poll_fn(|context| stream.inner().poll_doze(context)).await {
            return;
        }
        drop(dozing);
    };
    let switched = connection.take_switched().filter(|_| !state.is_aborted());
    match switched {
        Some(switched) if ended => {
            Box::pin(tunnel::run(stream.into_inner(), unread, *switched, state)).await;
        }
        _ => Box::pin(farewell::say(&connection, stream, &unread)).await,
    }
}

/// Why a connection is not served any further for now.
enum Stop {
    /// It is over, and whether in good order.
    Ended(bool),
    /// It has been idle for a while.
    Dozing,
}

/// Serves calls until the connection is over, or has been idle for so long that its buffers are given back: the library keeps
/// sixteen kibibytes as long as it has a connection.
async fn until_idle(
    builder: &http1::Builder,
    stream: StrictStream<WatchedStream>,
    connection: &Rc<Connection>,
) -> (Stop, StrictStream<WatchedStream>, Bytes) {
    let state = connection.state();
    let service = service_fn(|request| {
        let connection = Rc::clone(connection);
        // In a box that is made for the call: the library keeps room for the whole of it as long as the connection is open.
        async move {
            let answer = Box::pin(pipeline::serve(&connection, request)).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let mut serving = Box::new(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_told = false;
    let stop = poll_fn(|context| {
        if state.is_aborted() {
            return Poll::Ready(Stop::Ended(true));
        }
        if state.is_to_end() && !is_told {
            is_told = true;
            Pin::new(&mut *serving).graceful_shutdown();
        }
        match Pin::new(&mut *serving).poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Stop::Ended(outcome.is_ok())),
            // All that has come was looked at just now, and it was nothing.
            Poll::Pending if state.is_dozing() && !is_told => Poll::Ready(Stop::Dozing),
            Poll::Pending => {
                state.note(context);
                Poll::Pending
            }
        }
    })
    .await;
    let parts = serving.into_parts();
    (stop, parts.io.into_inner(), parts.read_buf)
}
