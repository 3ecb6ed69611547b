//! Connections from gateways: accepted, and for TLS shaken hands with.
//!
//! A handshake has ten seconds. As many as [`MOST_HANDSHAKES`] are under way at once; when one more comes, the oldest is
//! dropped: it has had more time than any gateway needs. So nobody who opens connections and says nothing keeps
//! gateways out.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keyward_tls::{Reloading, ServerTls};
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

mod connection;

pub(super) use connection::Connection;

const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the other side may take to hear why it was refused.
const LAST_WORD: Duration = Duration::from_millis(500);
const MOST_HANDSHAKES: usize = 256;
/// Connections that wait for the service to take them.
const AHEAD: usize = 16;
/// Before the next try, when the operating system has no descriptor for a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Who is at the other end.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Its address, as far as it is known.
    pub(super) address: Option<SocketAddr>,
    /// Whether nobody between us can read what is said.
    pub(super) is_private: bool,
    /// The certificate that it has shown, and what leads to its root: good as of the handshake.
    pub(super) certificates: Option<Arc<[CertificateDer<'static>]>>,
}

impl Peer {
    /// Whether what is said in clear text could be read by somebody.
    pub(super) fn is_overheard(&self) -> bool {
        let is_near = self
            .address
            .is_some_and(|address| address.ip().to_canonical().is_loopback());
        !self.is_private && !is_near
    }
}

/// What tonic serves.
pub(super) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Accepts connections until `shutdown`.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Reloading<ServerTls>>>,
    shutdown: CancellationToken,
) -> Incoming {
    let (sender, connections) = mpsc::channel(AHEAD);
    let acceptor = Acceptor {
        sender,
        tls,
        handshakes: JoinSet::new(),
        waiting: VecDeque::new(),
    };
    tokio::spawn(async move {
        shutdown.run_until_cancelled(acceptor.keep(&listener)).await;
    });
    ReceiverStream::new(connections)
}

struct Acceptor {
    sender: mpsc::Sender<io::Result<Connection>>,
    tls: Option<Arc<Reloading<ServerTls>>>,
    handshakes: JoinSet<()>,
    /// The same, oldest first.
    waiting: VecDeque<AbortHandle>,
}

impl Acceptor {
    async fn keep(mut self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.opened(stream, address).await,
                Err(error) => {
                    tracing::warn!(%error, "sync listener: no connection accepted");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    async fn opened(&mut self, stream: TcpStream, address: SocketAddr) {
        // Without it every small frame waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let Some(tls) = self.tls.as_ref().map(|tls| tls.current()) else {
            let _ = self.sender.send(Ok(Connection::plain(stream, address))).await;
            return;
        };
        self.make_room();
        let sender = self.sender.clone();
        let handshake = self.handshakes.spawn(async move {
            let accepting = TlsAcceptor::from(Arc::clone(&tls.config))
                .accept(stream)
                .into_fallible();
            let result = match tokio::time::timeout(HANDSHAKE, accepting).await {
                Ok(Ok(stream)) => {
                    let _ = sender.send(Ok(Connection::private(stream, address))).await;
                    "done"
                }
                Ok(Err((error, stream))) => {
                    failed(address, &error);
                    take_leave(stream).await;
                    "failed"
                }
                Err(_) => "late",
            };
            metrics::counter!("keyward_sync_handshakes_total", "result" => result).increment(1);
        });
        self.waiting.push_back(handshake);
    }

    fn make_room(&mut self) {
        while self.handshakes.try_join_next().is_some() {}
        self.waiting.retain(|handshake| !handshake.is_finished());
        if self.waiting.len() >= MOST_HANDSHAKES
            && let Some(oldest) = self.waiting.pop_front()
        {
            oldest.abort();
            metrics::counter!("keyward_sync_handshakes_total", "result" => "crowded_out").increment(1);
        }
    }
}

/// What was said last is lost when a connection is closed on which something more has come: it gets a moment to arrive.
async fn take_leave(mut stream: TcpStream) {
    let leaving = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LAST_WORD, leaving).await;
}

/// A certificate that isn't taken is worth a word; anybody can break off.
fn failed(address: SocketAddr, error: &io::Error) {
    match keyward_tls::refused_by_peer(error) {
        Some(why @ keyward_tls::Refused::Untrusted(_)) => {
            tracing::warn!(%address, %why, "a gateway's certificate was refused");
        }
        _ => tracing::debug!(%address, %error, "a TLS handshake failed"),
    }
}
