//! One HTTP/2 connection: many calls at once, each on a stream and in a task of its own.
//!
//! A stream has a [`ConnectionState`] of its own, so that what is slow, stuck or without rights ends alone: its task is
//! dropped, and the client sees `RST_STREAM`. What is wrong with the connection ends all of them. Here a head is made to look as it does
//! over HTTP/1.1 (`Host`, one `Cookie`), so that the pipeline reads every call in one way.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Server;
use super::serving;
use super::unread;
use super::watch::{ConnectionState, WatchedStream};
use crate::body::AnswerBody;
use crate::connection::Connection;
use crate::pipeline;

/// What a client may send on one stream before it is read, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What it may send on all streams of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of an answer may wait for the client on one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves until the client or the gateway ends it.
pub(super) async fn serve(server: &Rc<Server>, stream: WatchedStream, connection: Rc<Connection>) {
    let state = connection.state();
    let terms = server.worker.terms();
    let config = &terms.rules().config;
    let tasks = StreamTasks::default();
    let mut builder = serving::http2(tasks.clone(), config);
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    let service = service_fn(|request| {
        // Called right before its task is spawned: see `StreamTasks`.
        let stream = ConnectionState::stream_of(state);
        server.watch(&stream);
        tasks.next.set(Some(Rc::clone(&stream)));
        let connection = Rc::new(connection.on_stream(stream));
        async move { Ok::<_, Infallible>(answer(&connection, request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    serving::until_ended(state, pin!(connection), http2::Connection::graceful_shutdown).await;
}

async fn answer(connection: &Rc<Connection>, request: Request<Incoming>) -> Response<AnswerBody> {
    let (mut parts, body) = request.into_parts();
    if parts.headers.len() > connection.worker().terms().rules().config.bounds.headers {
        let mut refusal = Response::new(AnswerBody::none(Rc::clone(connection.state())));
        *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        // As over HTTP/1.1: who sends such heads sends no more of them here.
        connection.state().had_too_large_a_head();
        return refusal;
    }
    plain(&mut parts);
    pipeline::serve(connection, Request::from_parts(parts, body)).await
}

/// A head as HTTP/1.1 would have it: `:authority` is also `Host` (RFC 9113 §8.3.1), and the crumbs of a cookie are one field
/// (§8.2.3).
fn plain(parts: &mut Parts) {
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    let mut crumbs = parts.headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let mut whole = [first.as_bytes(), second.as_bytes()].join(&b"; "[..]);
        for crumb in crumbs {
            whole.extend_from_slice(b"; ");
            whole.extend_from_slice(crumb.as_bytes());
        }
        if let Ok(whole) = HeaderValue::from_bytes(&whole) {
            parts.headers.insert(COOKIE, whole);
        }
    }
}

/// Spawns the tasks of one connection's streams on this thread. The library asks for a call's answer and spawns its task in one
/// go, so that the stream that was made last is the task's.
#[derive(Clone, Default)]
struct StreamTasks {
    next: Rc<Cell<Option<Rc<ConnectionState>>>>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for StreamTasks {
    fn execute(&self, task: F) {
        let Some(stream) = self.next.take() else {
            tokio::task::spawn_local(task);
            return;
        };
        tokio::task::spawn_local(async move {
            {
                let mut task = pin!(task);
                poll_fn(|context| {
                    // Dropping the task resets the stream.
                    if stream.is_aborted() {
                        return Poll::Ready(());
                    }
                    let polled = task.as_mut().poll(context);
                    if polled.is_pending() {
                        stream.note(context);
                    }
                    polled
                })
                .await;
            }
            unread::read_off(&stream).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_as_over_http_1() {
        let request = Request::get("https://api.example:8443/a")
            .version(http::Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("cookie", "c=3");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        plain(&mut parts);
        assert_eq!(parts.headers[HOST], "api.example:8443");
        let cookies: Vec<_> = parts.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
