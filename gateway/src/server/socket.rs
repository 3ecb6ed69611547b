//! A client's socket, in clear text or with TLS.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::socket::Socket;

/// A client's socket.
pub type ClientSocket = Socket<TlsStream<TcpStream>>;

impl ClientSocket {
    /// Has the client see a reset when the socket is closed, and throws away what is still to be sent.
    pub fn abort(&self) {
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Whether what was written may wait here, so that flushing means something.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}
