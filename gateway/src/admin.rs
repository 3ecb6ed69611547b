//! The admin listener: health, metrics and state, for operators and their machines. Never open to partners.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 while the process runs |
//! | `/readyz` | 200 or, while calls should go elsewhere, 503; why, as JSON |
//! | `/metrics` | Prometheus text |
//! | `/debug/state` | what the gateway holds, as JSON |
//! | `/explain/<request id>` | the refusals with this id of the last hour, step by step, as JSON; 404 when there is none |
//! | `/.well-known/jwks.json` | the public keys of signed identities; may be kept for five minutes |
//!
//! GET and HEAD alone. A connection that is slow, idle or merely old is closed, and at most 64 are open at once, so
//! that no scraper can take what callers need. Nothing here is on the path of a call.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::explain;
use crate::telemetry::Telemetry;

/// Connections that are served at once.
const CONNECTIONS: usize = 64;
/// For a request's head to arrive, and for a kept connection to ask again; Prometheus asks every minute at most.
const HEAD: Duration = Duration::from_secs(75);
/// For one connection altogether; after it, the answer under way is finished and the connection closed.
const CONNECTION: Duration = Duration::from_secs(600);
/// For answers under way when the connection's time is over or the gateway stops.
const FINISH: Duration = Duration::from_secs(5);
/// Before the next try, when the operating system has no descriptor for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// Whether calls should come to this gateway, and why.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Whether they should.
    pub ready: bool,
    /// What that was decided from.
    pub detail: Value,
}

/// Finds what is held of a request id.
pub type Explain = dyn Fn(&str) -> Option<Value> + Send + Sync;

/// What the admin listener shows.
#[derive(Clone)]
pub struct AdminState {
    /// For `/metrics`.
    pub telemetry: Arc<Telemetry>,
    /// For `/readyz`. Must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// For `/debug/state`. Must not block, nor show a secret.
    pub state: Arc<dyn Fn() -> Value + Send + Sync>,
    /// For `/explain/<id>`: `None` when no refusal with this id is held. Must not block for long.
    pub explain: Arc<Explain>,
    /// For `/.well-known/jwks.json`.
    pub jwks: Arc<dyn Fn() -> Arc<str> + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// Answers on the listener until it is told to stop; then finishes the answers under way, for 5 s at most.
pub async fn serve(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Some(accepted) = stop
        .run_until_cancelled(next_connection(&listener, &places))
        .await
    {
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, place)) => {
                let (state, stop) = (state.clone(), stop.clone());
                connections.spawn(async move {
                    serve_connection(stream, state, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin listener: no connection accepted");
                sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    // Each connection stops by itself within this time; a little more, so that it is they who decide.
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(FINISH.saturating_add(BACK_OFF), all).await;
}

/// A free place first, so that connections beyond the bound wait in the operating system's queue.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn serve_connection(stream: TcpStream, state: AdminState, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&request, &state).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // What goes wrong on a connection is the other side's to see.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(CONNECTION) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FINISH, connection).await;
}

async fn answer(request: &Request<Incoming>, state: &AdminState) -> Response<Full<Bytes>> {
    let page = match request.uri().path() {
        "/livez" => Page::Live,
        "/readyz" => Page::Ready,
        "/metrics" => Page::Metrics,
        "/debug/state" => Page::State,
        "/.well-known/jwks.json" => Page::Keys,
        path => match path.strip_prefix("/explain/") {
            Some(id) => Page::Refusals(id),
            None => return text(StatusCode::NOT_FOUND, "not found\n"),
        },
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let mut answer = page.answer(state).await;
    if *request.method() == Method::HEAD {
        let length = hyper::body::Body::size_hint(answer.body())
            .exact()
            .unwrap_or_default();
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        *answer.body_mut() = Full::default();
    }
    answer
}

/// What there is to see.
#[derive(Clone, Copy)]
enum Page<'a> {
    Live,
    Ready,
    Metrics,
    State,
    Keys,
    /// Those with this request id.
    Refusals(&'a str),
}

impl Page<'_> {
    async fn answer(self, state: &AdminState) -> Response<Full<Bytes>> {
        match self {
            Self::Live => text(StatusCode::OK, "ok\n"),
            Self::Ready => {
                let readiness = (state.readiness)();
                let status = if readiness.ready {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                json(
                    status,
                    &serde_json::json!({ "ready": readiness.ready, "detail": readiness.detail }),
                )
            }
            Self::Metrics => {
                let telemetry = Arc::clone(&state.telemetry);
                // It reads `/proc`, and this runtime has key changes to apply meanwhile.
                match tokio::task::spawn_blocking(move || telemetry.render()).await {
                    Ok(page) => typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page),
                    Err(error) => {
                        tracing::error!(%error, "metrics could not be rendered");
                        text(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            "metrics could not be rendered\n",
                        )
                    }
                }
            }
            Self::State => json(StatusCode::OK, &(state.state)()),
            Self::Keys => {
                let keys = (state.jwks)().to_string();
                let mut answer = typed(StatusCode::OK, "application/jwk-set+json", keys);
                let kept = HeaderValue::from_static("public, max-age=300");
                answer.headers_mut().insert(CACHE_CONTROL, kept);
                answer
            }
            Self::Refusals(id) => match (state.explain)(id) {
                Some(refusals) => json(StatusCode::OK, &refusals),
                None => json(StatusCode::NOT_FOUND, &explain::not_held(id)),
            },
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn json(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    typed(status, "application/json", format!("{value:#}\n"))
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests;
