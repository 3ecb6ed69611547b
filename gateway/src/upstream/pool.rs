//! Idle connections to one endpoint, last used first, so that the surplus grows old and is closed.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use keyward_config::Endpoint;
use tokio::net::TcpStream;

/// Idle connections kept to one endpoint by one worker.
const MAX_IDLE: usize = 256;

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct EndpointPool {
    host: String,
    port: u16,
    authority: String,
    idle: RefCell<Vec<Connection>>,
    /// No rules that are in force name it any more.
    is_retired: Cell<bool>,
}

/// A connection to an endpoint, and what was read from it and not yet used.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: BytesMut,
}

impl EndpointPool {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
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
            idle: RefCell::default(),
            is_retired: Cell::new(false),
        }
    }

    /// Whether it is this endpoint's.
    pub(super) fn is_of(&self, endpoint: &Endpoint) -> bool {
        self.host == endpoint.host && self.port == endpoint.port
    }

    /// Closes what is idle now, and what would become so.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
        self.idle.borrow_mut().clear();
    }

    /// `Host` for requests that come without one, and its name in logs.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// An idle connection that is not known to be closed.
    pub(super) fn idle(&self) -> Option<Connection> {
        loop {
            let connection = self.idle.borrow_mut().pop()?;
            // No system call as long as nothing has come: the runtime knows. Anything that has come is the end
            // of the connection or an answer that nobody asked for; either way it is of no more use.
            let silent = connection.stream.try_read(&mut [0]);
            if silent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Some(connection);
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the endpoint can't be reached within the limit.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Connection> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(limit, connecting).await??;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            buffer: BytesMut::new(),
        })
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep(self: &Rc<Self>, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !self.is_retired.get() {
            idle.push(connection);
        }
    }
}
