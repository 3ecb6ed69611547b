//! A real server that webhooks are delivered to: it keeps what it got, and answers what a test says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A server on a free port, until it is dropped.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inner: Arc<Inner>,
    _task: AbortOnDropHandle<()>,
}

struct Inner {
    received: Mutex<Vec<Received>>,
    next: Mutex<VecDeque<u16>>,
    usual: Mutex<u16>,
    held: watch::Sender<bool>,
}

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    /// How many of its signatures are good under this secret, as any receiver would find out.
    pub(crate) fn signatures_under(&self, secret: &str) -> usize {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let signed = format!("{}.{}.{}", self.id(), self.header("webhook-timestamp"), self.body);
        let good = |signature: &&str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(signed.as_bytes());
            let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            mac.verify_slice(&tag).is_ok()
        };
        let signatures = self.header("webhook-signature").split(' ');
        signatures.filter(good).count()
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            received: Mutex::default(),
            next: Mutex::default(),
            usual: Mutex::new(200),
            held: watch::Sender::new(false),
        });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            url,
            inner,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What the next calls are answered; those after them get the usual answer.
    pub(crate) fn answer_next(&self, statuses: &[u16]) {
        self.inner.next.lock().extend(statuses);
    }

    /// What calls are answered, 200 at first.
    pub(crate) fn answer(&self, status: u16) {
        *self.inner.usual.lock() = status;
    }

    /// Keeps every answer back until `release`.
    pub(crate) fn hold(&self) {
        self.inner.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.inner.held.send_replace(false);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.inner.received.lock().clone()
    }

    /// Waits until so many messages came.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} of {count} messages came: {received:?}",
                received.len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn receive(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut held = inner.held.subscribe();
    inner.received.lock().push(Received {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let status = inner.next.lock().pop_front().unwrap_or(*inner.usual.lock());
    let _ = held.wait_for(|held| !held).await;
    let status = StatusCode::from_u16(status).unwrap();
    if status.is_redirection() {
        return (status, [(header::LOCATION, "/elsewhere")]).into_response();
    }
    (status, "thanks").into_response()
}
