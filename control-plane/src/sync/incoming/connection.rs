//! One connection of a gateway, in clear text or in TLS. Its first bytes have ten seconds to come: HTTP/2 itself sets no
//! time for them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::Peer;

/// What every HTTP/2 connection begins with.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const PREFACE_WITHIN: Duration = Duration::from_secs(10);

/// A connection, and who is at its other end.
#[derive(Debug)]
pub(in crate::sync) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Until the first bytes have come: how many are missing, and for how long they may.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn plain(stream: TcpStream, address: SocketAddr) -> Self {
        let peer = Peer {
            address: Some(address),
            ..Peer::default()
        };
        Self::new(Stream::Plain(stream), peer)
    }

    pub(super) fn private(stream: TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let shown = stream.get_ref().1.peer_certificates();
        let peer = Peer {
            address: Some(address),
            is_private: true,
            certificates: shown.map(|certificates| -> Arc<[CertificateDer<'static>]> {
                certificates.iter().map(|der| der.clone().into_owned()).collect()
            }),
        };
        Self::new(Stream::Tls(Box::new(stream)), peer)
    }

    fn new(stream: Stream, peer: Peer) -> Self {
        Self {
            stream,
            peer,
            preface: Some((PREFACE, Box::pin(tokio::time::sleep(PREFACE_WITHIN)))),
        }
    }

    /// Notes that bytes have come, or that none came for too long.
    fn await_preface(&mut self, context: &mut Context<'_>, came: usize) -> io::Result<()> {
        let Some((missing, limit)) = &mut self.preface else {
            return Ok(());
        };
        *missing = missing.saturating_sub(came);
        if *missing == 0 {
            self.preface = None;
        } else if limit.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let came = buffer.filled().len().saturating_sub(before);
        match self.await_preface(context, came) {
            Ok(()) => read,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
