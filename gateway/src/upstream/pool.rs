//! Idle connections to one endpoint, last used first, so that the surplus grows old and is closed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use keyward_config::Endpoint;
use tokio::net::TcpStream;

use crate::body::RequestBody;

/// Idle connections kept to one endpoint by one worker.
const MAX_IDLE: usize = 256;

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct EndpointPool {
    host: String,
    port: u16,
    authority: HeaderValue,
    idle: RefCell<Vec<SendRequest<RequestBody>>>,
}

/// A connection in use for one exchange.
#[derive(Debug)]
pub struct Lease {
    pool: Rc<EndpointPool>,
    sender: SendRequest<RequestBody>,
}

impl EndpointPool {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            host: endpoint.host.clone(),
            port: endpoint.port,
            authority: super::authority(&endpoint.host, endpoint.port),
            idle: RefCell::default(),
        }
    }

    /// `Host` for requests that come without one.
    pub(super) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// For logs.
    pub(super) fn name(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// An idle connection that is still open.
    pub(super) async fn idle(self: &Rc<Self>) -> Option<Lease> {
        loop {
            let mut sender = self.idle.borrow_mut().pop()?;
            // Given back at the last byte of an answer; the connection's own task may need one more turn.
            let is_usable = sender.is_ready() || (!sender.is_closed() && sender.ready().await.is_ok());
            if is_usable {
                return Some(Lease { pool: Rc::clone(self), sender });
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the endpoint can't be reached in time.
    pub(super) async fn connect(self: &Rc<Self>, limit: Duration) -> std::io::Result<Lease> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(limit, connecting).await??;
        stream.set_nodelay(true)?;
        let handshake = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .writev(true)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(std::io::Error::other)?;
        tokio::task::spawn_local(async move {
            // Its error reaches the exchange that was under way; an idle connection's end concerns nobody.
            let _ = connection.await;
        });
        Ok(Lease { pool: Rc::clone(self), sender })
    }
}

impl Lease {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// With the request itself when not a byte of it can have been written.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.sender.try_send_request(request).await
    }

    /// The answer has come to its end. The connection is kept when the request had, too.
    pub fn give_back(self, request_is_over: bool) {
        let Self { pool, sender } = self;
        let mut idle = pool.idle.borrow_mut();
        if request_is_over && !sender.is_closed() && idle.len() < MAX_IDLE {
            idle.push(sender);
        }
    }
}
