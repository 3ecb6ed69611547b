//! Idle connections to one machine, last used first, so that the surplus grows old and is closed.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::fleet::Machine;

/// Idle connections kept to one endpoint by one worker.
const MAX_IDLE: usize = 256;

/// One worker's connections to one endpoint.
#[derive(Debug)]
pub struct EndpointPool {
    machine: Arc<Machine>,
    idle: RefCell<Vec<Connection>>,
}

/// A connection to an endpoint, and what was read from it and not yet used.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: BytesMut,
}

impl EndpointPool {
    pub(super) fn new(machine: &Arc<Machine>) -> Self {
        Self {
            machine: Arc::clone(machine),
            idle: RefCell::default(),
        }
    }

    /// Its name in logs.
    pub(super) fn authority(&self) -> &str {
        self.machine.authority()
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
        Ok(Connection {
            stream: self.machine.connect(limit).await?,
            buffer: BytesMut::new(),
        })
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep(self: &Rc<Self>, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}
