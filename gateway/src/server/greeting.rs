//! From a connection that was just accepted to one whose calls can be served: the PROXY protocol, TLS, and which HTTP is
//! spoken.
//!
//! The PROXY protocol is read of trusted proxies alone, and then there must be one. With TLS the protocol is agreed on by ALPN; in clear
//! text HTTP/2 is known by its preface (RFC 9113 §3.3, "prior knowledge"), which no HTTP/1.1 request begins with. What goes wrong ends
//! the connection without a word and is counted by its reason.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use arrayvec::ArrayVec;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::frames::PREFACE;
use super::socket::ClientSocket;
use super::watch::ConnectionState;
use crate::proxy_protocol::{self, Told};
use crate::telemetry::Turned;
use crate::worker::Worker;

/// What a client says before its protocol is known.
pub type Early = ArrayVec<u8, { PREFACE.len() }>;

/// A connection that is ready to be served.
#[derive(Debug)]
pub struct Guest {
    /// Its socket.
    pub socket: ClientSocket,
    /// What was read of it already.
    pub early: Early,
    /// Whose it is.
    pub peer: SocketAddr,
    /// What is spoken.
    pub wire: Wire,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Brings a connection so far that it can be served; `None` when it is to be closed.
pub async fn receive(
    worker: &Worker,
    mut stream: TcpStream,
    peer: SocketAddr,
    state: &Rc<ConnectionState>,
) -> Option<Guest> {
    let terms = worker.terms();
    let config = &terms.rules().config;
    let tls = terms.rules().tls.as_ref().map(|tls| tls.current());
    let is_announced =
        config.listen.proxy_protocol && terms.rules().trusted.contains(peer.ip().to_canonical());
    if !is_announced && tls.is_none() {
        return in_clear_text(stream, peer, state).await;
    }
    state.greeting_began();
    let greeting = async {
        let peer = if is_announced {
            announced(&mut stream, peer)
                .await
                .map_err(|_| Turned::ProxyProtocol)?
        } else {
            peer
        };
        let Some(tls) = tls else {
            return Ok((ClientSocket::Plain(stream), peer));
        };
        let accepting = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
        let accepted = accepting.await.map_err(|error| {
            tracing::debug!(%error, %peer, "no TLS with a client");
            Turned::Tls
        })?;
        Ok((ClientSocket::Tls(Box::new(accepted)), peer))
    };
    let mut greeting = pin!(tokio::time::timeout(config.timeouts.handshake, greeting));
    let greeted = poll_fn(|context| {
        state.note(context);
        // A gateway that stops waits for nobody who has not said what it wants.
        if state.is_to_end() {
            return Poll::Ready(Ok(Err(Turned::Slow)));
        }
        greeting.as_mut().poll(context)
    })
    .await;
    match greeted.unwrap_or(Err(Turned::Slow)) {
        Ok((ClientSocket::Plain(stream), peer)) => {
            state.greeting_over();
            in_clear_text(stream, peer, state).await
        }
        Ok((socket, peer)) => {
            state.greeting_over();
            Some(Guest {
                wire: agreed(&socket),
                socket,
                early: Early::new(),
                peer,
            })
        }
        Err(reason) => {
            worker.telemetry().turned(reason);
            None
        }
    }
}

/// What was agreed on by ALPN; who says nothing speaks HTTP/1.1.
fn agreed(socket: &ClientSocket) -> Wire {
    match socket {
        ClientSocket::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Wire::Http2,
        ClientSocket::Tls(_) | ClientSocket::Plain(_) => Wire::Http1,
    }
}

/// Reads the proxy's header, and not a byte beyond it.
async fn announced(stream: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut header = Vec::with_capacity(256);
    let mut ahead = [0; 256];
    loop {
        let seen = stream.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let held = header.len();
        header.extend_from_slice(ahead.get(..seen).unwrap_or_default());
        let read = proxy_protocol::read(&header)
            .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        let own = read.map_or(seen, |(_, used)| used.saturating_sub(held));
        let consumed = ahead.get_mut(..own.min(seen)).unwrap_or_default();
        stream.read_exact(consumed).await?;
        match read {
            Some((Told::Source(source), _)) => return Ok(source),
            Some((Told::Itself, _)) => return Ok(peer),
            None => {}
        }
    }
}

/// Waits for the first bytes, which tell HTTP/2 from HTTP/1.1; `None` when it is to be closed.
pub(crate) async fn in_clear_text(
    mut stream: TcpStream,
    peer: SocketAddr,
    state: &ConnectionState,
) -> Option<Guest> {
    let mut early = Early::new();
    let wire = poll_fn(|context| {
        loop {
            if state.is_ended() || state.is_to_end() {
                return Poll::Ready(None);
            }
            let mut room = [0; PREFACE.len()];
            let wanted = room.get_mut(early.len()..).unwrap_or_default();
            let mut buffer = ReadBuf::new(wanted);
            match Pin::new(&mut stream).poll_read(context, &mut buffer) {
                Poll::Pending => {
                    state.note(context);
                    return Poll::Pending;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => {}
            }
            let came = buffer.filled();
            // Its end, which HTTP/1.1 makes what it can of.
            let is_over = came.is_empty();
            state.received();
            // There is room: no more was asked for than is left.
            let _ = early.try_extend_from_slice(came);
            if is_over || !PREFACE.starts_with(&early) {
                return Poll::Ready(Some(Wire::Http1));
            }
            if early.is_full() {
                return Poll::Ready(Some(Wire::Http2));
            }
        }
    })
    .await?;
    Some(Guest {
        socket: ClientSocket::Plain(stream),
        early,
        peer,
        wire,
    })
}
