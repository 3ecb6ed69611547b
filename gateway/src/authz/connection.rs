//! One connection of somebody who asks: HTTP/1.1, or HTTP/2 by prior knowledge, in clear text.
//!
//! What is silent, slow, stuck or floods ends as on the listener of the calls (`server/watch.rs`, `server/frames.rs`). A
//! question has a time limit for its body of its own; answers are small, and a call that was asked about is over when it
//! is decided, so that a stream whose answer nobody takes holds nothing but its few bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Asker;
use super::reply::Reply;
use crate::server::frames::FrameBudget;
use crate::server::greeting::{self, Guest, Wire};
use crate::server::serving;
use crate::server::watch::{ConnectionState, WatchedStream};
use crate::worker::Worker;

/// Answers everything that is asked on a connection, until it ends.
pub async fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, state: &Rc<ConnectionState>) {
    let Some(guest) = greeting::in_clear_text(stream, peer, state).await else {
        return;
    };
    let asker = Asker::new(worker, peer);
    match guest.wire {
        Wire::Http1 => serve_http1(&asker, guest, state).await,
        Wire::Http2 => serve_http2(&asker, guest, state).await,
    }
}

async fn serve_http1(asker: &Asker, guest: Guest, state: &Rc<ConnectionState>) {
    let bounds = asker.worker.terms().rules().config.bounds;
    let builder = serving::http1(&bounds);
    let stream = WatchedStream::new(guest.socket, guest.early, Rc::clone(state));
    let service = service_fn(|request| answer(asker.clone(), InUse::began(state), request));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    serving::until_ended(state, pin!(connection), http1::Connection::graceful_shutdown).await;
}

async fn serve_http2(asker: &Asker, guest: Guest, state: &Rc<ConnectionState>) {
    let terms = asker.worker.terms();
    let config = &terms.rules().config;
    let builder = serving::http2(OnThisThread, config);
    state.speaks_http2();
    let stream = WatchedStream::new(guest.socket, guest.early, Rc::clone(state));
    let stream = stream.within(FrameBudget::new(&config.bounds, state.ticked()), &asker.worker);
    let service = service_fn(|request| {
        let stream = ConnectionState::stream_of(state);
        answer(asker.clone(), InUse::began(&stream), request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    serving::until_ended(state, pin!(connection), http2::Connection::graceful_shutdown).await;
}

async fn answer(
    asker: Asker,
    in_use: InUse,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    if request.headers().len() > asker.worker.terms().rules().config.bounds.headers {
        let mut refusal = Response::new(Reply::default().using(in_use));
        *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Ok(refusal);
    }
    let answer = super::answer(&asker, request).await;
    Ok(answer.map(|reply| reply.using(in_use)))
}

/// One question, from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct InUse(Rc<ConnectionState>);

impl InUse {
    fn began(state: &Rc<ConnectionState>) -> Self {
        state.call_began();
        Self(Rc::clone(state))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.call_over();
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
