//! How the gateway speaks TLS to an upstream: whom it trusts, what it shows, and which name the certificate must have.
//!
//! Made of files, and made anew when they change: for the connections that are opened then. The control thread looks;
//! workers never read the disk. Files that are no good at the start stop it; changed ones that are no good are told once, and
//! those before hold.

use std::io;
use std::sync::Arc;

use keyward_config::{Upstream, UpstreamProtocol};
use keyward_tls::{FileError, Purpose, Refused, Reloading, client_config, client_files, refused_by_peer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TLS towards one upstream.
#[derive(Debug)]
pub struct UpstreamTls {
    upstream: String,
    files: Reloading<Arc<ClientConfig>>,
    server_name: Option<String>,
    protocol: UpstreamProtocol,
}

/// Why TLS came to nothing; for logs.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsFault {
    /// They can't agree, or one doesn't trust the other.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It wants to speak something else.
    #[error("it does not agree to HTTP/2")]
    NotHttp2,
    /// Its address, or `server_name`, is nothing that a certificate can name.
    #[error("no certificate can have its name")]
    Nameless,
    /// The connection broke.
    #[error("the connection broke within the handshake: {0}")]
    Broken(io::ErrorKind),
}

impl UpstreamTls {
    /// Of every upstream, in order; `None` for those in clear text. Reads their files.
    ///
    /// # Errors
    /// When a file can't be read or holds something else, or the system has no roots and none are given.
    pub fn open(upstreams: &[Upstream]) -> Result<Vec<Option<Arc<Self>>>, FileError> {
        let open = |upstream: &Upstream| {
            let Some(tls) = &upstream.tls else {
                return Ok(None);
            };
            let purpose = match upstream.protocol {
                UpstreamProtocol::Http1 => Purpose::UpstreamHttp1,
                UpstreamProtocol::Http2 => Purpose::UpstreamHttp2,
            };
            let files = Reloading::open(client_files(tls, purpose), move |sources| {
                client_config(sources, purpose)
            })?;
            Ok(Some(Arc::new(Self {
                upstream: upstream.name.clone(),
                files,
                server_name: tls.server_name.clone(),
                protocol: upstream.protocol,
            })))
        };
        upstreams.iter().map(open).collect()
    }

    /// Takes changed files in, and tells what came of it. Reads the disk.
    pub fn look(&self) {
        match self.files.look() {
            Ok(None) => {}
            Ok(Some(_)) => tracing::info!(upstream = self.upstream, "changed TLS files are in force"),
            Err(error) => {
                tracing::error!(upstream = self.upstream, %error, "changed TLS files are not taken; those before hold");
            }
        }
    }

    /// Shakes hands with the machine of this name.
    ///
    /// # Errors
    /// When its certificate is not taken, or it does not speak what it is asked to.
    pub(super) async fn handshake(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, TlsFault> {
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| TlsFault::Nameless)?;
        let connector = TlsConnector::from(Arc::clone(&*self.files.current()));
        let stream = connector.connect(name, socket).await.map_err(|error| {
            refused_by_peer(&error).map_or(TlsFault::Broken(error.kind()), TlsFault::Refused)
        })?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if self.protocol == UpstreamProtocol::Http2 && agreed != Some(b"h2") {
            return Err(TlsFault::NotHttp2);
        }
        Ok(stream)
    }
}
