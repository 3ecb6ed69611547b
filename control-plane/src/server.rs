//! Serving a router over HTTP/1.1: bounded connections, heads and waiting, and an end that lets calls finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

mod impatient;

use impatient::Impatient;

const CONNECTIONS: usize = 4_096;
/// From the first wait for a request to the end of its head; ends silent and idle connections too.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// A client that takes nothing of its answers for so long is gone.
const TAKES_WITHIN: Duration = Duration::from_secs(30);
const HEAD_BYTES: usize = 32 * 1_024;
const HEADERS: usize = 100;
/// How long calls may go on once the end was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// How long accepting rests when the machine has no more sockets to give.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets calls in flight finish.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        if let Some((stream, peer, permit)) = accepted {
            let connection = connection(stream, peer, router.clone(), stop.clone());
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(OUT_OF_SOCKETS).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    // Answers are small and whole: waiting to fill a segment only makes them late.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        call(router.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Impatient::new(stream, TAKES_WITHIN)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn call(router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    router.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_no_answer_loses_its_connection() {
        let (client, server) = tokio::io::duplex(1_024);
        let (mut answers, mut calls) = tokio::io::split(client);
        let router = Router::new().route("/", get(|| async { "x".repeat(4_096) }));
        let service = service_fn(move |request| call(router.clone(), request));
        let patience = Duration::from_millis(50);
        let served = tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(Impatient::new(server, patience)), service),
        );
        calls
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), served).await;
        assert!(ended.expect("it is held for ever").unwrap().is_err());
        let mut read = Vec::new();
        answers.read_to_end(&mut read).await.unwrap();
        assert!(read.len() <= 1_024);
    }

    #[tokio::test]
    async fn a_slow_reader_gets_all_of_its_answer() {
        let (client, server) = tokio::io::duplex(64);
        let (mut answers, mut calls) = tokio::io::split(client);
        let router = Router::new().route("/", get(|| async { "x".repeat(1_000) }));
        let service = service_fn(move |request| call(router.clone(), request));
        // Longer than any one wait, shorter than all of them together.
        let patience = Duration::from_millis(500);
        let served =
            http1::Builder::new().serve_connection(TokioIo::new(Impatient::new(server, patience)), service);
        let _served = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(served));
        calls
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let (mut read, mut piece) = (Vec::new(), [0; 16]);
        loop {
            let length = answers.read(&mut piece).await.unwrap();
            if length == 0 {
                break;
            }
            read.extend_from_slice(&piece[..length]);
            // Not a wait for anything: this is how slow it is.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(read.ends_with(&[b'x'; 1_000]));
    }
}
