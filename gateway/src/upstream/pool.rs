//! Connections to one endpoint. Those of HTTP/1.1 wait in line when they are idle, last used first, so that the surplus
//! grows old and is closed; those of HTTP/2 carry many calls at once ([`super::http2`]).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::uri::Scheme;
use keyward_config::{ClientTls, Endpoint, Upstream, UpstreamProtocol};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::http2;
use super::request::{Fields, RequestHead};
use super::tls::{TlsFault, UpstreamTls};
use super::wire::Wire;
use crate::telemetry::UpstreamFailure;

/// Idle connections kept to one endpoint by one worker.
const MAX_IDLE: usize = 256;
/// The same complaint about an endpoint is not logged more often.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct EndpointPool {
    host: String,
    port: u16,
    authority: String,
    protocol: UpstreamProtocol,
    tls: RefCell<Option<Arc<UpstreamTls>>>,
    /// What that was made of.
    tls_settings: Option<ClientTls>,
    idle: RefCell<Vec<Connection>>,
    streams: http2::Connections,
    told: Cell<Option<Instant>>,
    /// No rules that are in force name it any more.
    is_retired: Cell<bool>,
}

/// A connection to an endpoint in HTTP/1.1, and what was read from it and not yet used.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: Wire,
    pub(crate) buffer: BytesMut,
}

/// What carries one call.
#[derive(Debug)]
pub(super) enum Line {
    /// A connection of its own, for as long as it lasts.
    Http1(Connection),
    /// A stream of a connection that others use too.
    Http2(http2::Place),
}

/// A way to an endpoint that was opened for a call.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) line: Line,
    /// Connections that this call had opened: others may have waited for the same one.
    pub(super) opened: u32,
}

/// Why an endpoint can't be reached.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unreachable {
    /// Not within the limit.
    #[error("it takes too long")]
    Late,
    /// The network says so.
    #[error("{0}")]
    Refused(io::ErrorKind),
    /// It can't be trusted, or does not trust us, or speaks something else.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// It does not speak HTTP/2.
    #[error("it does not speak HTTP/2: {0}")]
    NotHttp2(String),
    /// All connections that there may be carry as many calls as they can.
    #[error("all connections are full")]
    Full,
}

impl Unreachable {
    /// What it counts as.
    pub(super) fn failure(&self) -> UpstreamFailure {
        match self {
            Self::Late => UpstreamFailure::ConnectTimeout,
            Self::Refused(_) => UpstreamFailure::Connect,
            Self::Tls(_) => UpstreamFailure::Tls,
            Self::NotHttp2(_) => UpstreamFailure::Http2,
            Self::Full => UpstreamFailure::Full,
        }
    }
}

impl EndpointPool {
    pub(super) fn new(endpoint: &Endpoint, upstream: &Upstream, tls: Option<&Arc<UpstreamTls>>) -> Self {
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Self {
            host,
            port,
            authority,
            protocol: upstream.protocol,
            tls: RefCell::new(tls.map(Arc::clone)),
            tls_settings: upstream.tls.clone(),
            idle: RefCell::default(),
            streams: http2::Connections::default(),
            told: Cell::default(),
            is_retired: Cell::new(false),
        }
    }

    /// Whether it is this endpoint's, spoken to in this upstream's way.
    pub(super) fn is_of(&self, upstream: &Upstream, endpoint: &Endpoint) -> bool {
        self.host == endpoint.host
            && self.port == endpoint.port
            && self.protocol == upstream.protocol
            && self.tls_settings == upstream.tls
    }

    /// What is opened from now on goes by these files: the same, read by newer rules.
    pub(super) fn adopt(&self, tls: Option<&Arc<UpstreamTls>>) {
        self.tls.replace(tls.map(Arc::clone));
    }

    /// Closes what is idle now, and what would become so.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
        self.idle.borrow_mut().clear();
        self.streams.retire();
    }

    /// `Host` for requests that come without one, and its name in logs.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What it speaks.
    pub(super) fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    /// An empty head in the form that it reads; `buffer` is asked for bytes to write into.
    pub(super) fn head(&self, buffer: impl FnOnce() -> Vec<u8>) -> RequestHead {
        match self.protocol {
            UpstreamProtocol::Http1 => RequestHead::Http1(buffer()),
            UpstreamProtocol::Http2 => {
                let scheme = if self.tls_settings.is_some() {
                    Scheme::HTTPS
                } else {
                    Scheme::HTTP
                };
                RequestHead::Http2(Box::new(Fields::new(scheme)))
            }
        }
    }

    /// A way that is open already, and not known to be closed.
    pub(super) fn idle(&self) -> Option<Line> {
        if self.protocol == UpstreamProtocol::Http2 {
            return self.streams.place().map(Line::Http2);
        }
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            // Anything that has come is the end of the connection or an answer that nobody asked for; either way it is
            // of no more use.
            if connection.stream.is_silent() {
                return Some(Line::Http1(connection));
            }
        }
    }

    /// A new way.
    ///
    /// # Errors
    /// When the endpoint can't be reached within the limit.
    pub(super) async fn connect(self: &Rc<Self>, limit: Duration) -> Result<Connected, Unreachable> {
        match self.protocol {
            UpstreamProtocol::Http1 => Ok(Connected {
                line: Line::Http1(Connection {
                    stream: self.wire(limit).await?,
                    buffer: BytesMut::new(),
                }),
                opened: 1,
            }),
            UpstreamProtocol::Http2 => {
                let (place, opened) = http2::open(self, limit).await?;
                Ok(Connected {
                    line: Line::Http2(place),
                    opened,
                })
            }
        }
    }

    pub(super) fn streams(&self) -> &http2::Connections {
        &self.streams
    }

    /// A connection, hands shaken where it is TLS.
    pub(super) async fn wire(&self, limit: Duration) -> Result<Wire, Unreachable> {
        let connecting = async {
            let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
            let socket = connected.and_then(|socket| socket.set_nodelay(true).map(|()| socket));
            let socket = socket.map_err(|error| Unreachable::Refused(error.kind()))?;
            let tls = self.tls.borrow().clone();
            match tls {
                None => Ok(Wire::Plain(socket)),
                Some(tls) => {
                    let stream = tls.handshake(&self.host, socket).await;
                    Ok(Wire::Tls(Box::new(stream.map_err(Unreachable::Tls)?)))
                }
            }
        };
        let connected = tokio::time::timeout(limit, connecting).await;
        connected.unwrap_or(Err(Unreachable::Late))
    }

    /// Whether something about it should be logged now: not for every call.
    pub(super) fn is_to_tell(&self) -> bool {
        let now = Instant::now();
        let is_due = self
            .told
            .get()
            .is_none_or(|told| now.duration_since(told) >= TOLD_AGAIN);
        if is_due {
            self.told.set(Some(now));
        }
        is_due
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep(self: &Rc<Self>, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !self.is_retired.get() {
            idle.push(connection);
        }
    }
}
