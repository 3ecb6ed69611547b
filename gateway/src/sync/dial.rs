//! Connecting to a control plane, in clear text or by TLS.
//!
//! What TLS says when a connection fails would be lost on its way through HTTP/2, so it is noted where it is said
//! ([`Fault`]): a control plane refuses our certificate only after we believe that we are connected.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use keyward_tls::{Refused, refused_by_peer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CONNECT: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What TLS last said.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<Mutex<Option<Refused>>>);

impl Fault {
    fn note(&self, error: &io::Error) {
        if let Some(refused) = refused_by_peer(error) {
            self.0.lock().get_or_insert(refused);
        }
    }

    /// It, when it said anything.
    pub(super) fn take(&self) -> Option<Refused> {
        self.0.lock().take()
    }
}

/// How to speak TLS to one control plane.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) config: Arc<ClientConfig>,
    /// The name that its certificate must have; by default the host of its address.
    pub(super) server_name: Option<String>,
    pub(super) fault: Fault,
}

impl Dialer {
    /// Connects and shakes hands.
    pub(super) async fn dial(self, uri: Uri) -> io::Result<TokioIo<Line>> {
        let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let host = uri.host().ok_or_else(|| invalid("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| invalid("no name that a certificate can have"))?;
        let connecting = TcpStream::connect((host, uri.port_u16().unwrap_or(443)));
        let stream = tokio::time::timeout(CONNECT, connecting).await??;
        // Without it every small frame waits for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let handshake = TlsConnector::from(self.config).connect(name, stream);
        let stream = tokio::time::timeout(HANDSHAKE, handshake)
            .await?
            .inspect_err(|error| self.fault.note(error))?;
        Ok(TokioIo::new(Line {
            stream,
            fault: self.fault,
        }))
    }
}

/// A connection that notes what TLS says.
#[derive(Debug)]
pub(super) struct Line {
    stream: TlsStream<TcpStream>,
    fault: Fault,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read {
            self.fault.note(error);
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
