//! What an idle connection costs: the growth of a gateway's resident memory by many connections, each after one call.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use keyward_harness::{Authority, ProcessUsage, Validity, eventually, metric};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{ANSWERED, SIZE, head, until};
use crate::requests::Credentials;
use crate::stack::Stack;

/// Whom the gateway says it is.
const NAME: &str = "api.example.com";
/// None is closed before the last is open.
const LONG_IDLE: &str = "[bounds]\nconnections = 20000\n[timeouts]\nidle = \"10m\"\n";
/// How long connections may take until they hold no buffers any more.
const RESTED: Duration = Duration::from_secs(30);
/// How long, and how often, the gateway's memory is looked at after that: what is given back is given back little by little.
const LOOKS: usize = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What is spoken on idle connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1 in clear text.
    Clear,
    /// HTTP/1.1 with TLS.
    Tls,
    /// HTTP/2 in clear text.
    Http2,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "clear",
            Self::Tls => "TLS",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// Resident memory that each of so many such connections costs a gateway that nothing else happens to, in bytes.
pub(super) async fn bytes_each(wire: Wire, many: usize) -> anyhow::Result<u64> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new("idle connections")?;
    let certificate = authority.sign(&[NAME], Validity::Current)?;
    let (certificate_file, key_file) = (folder.path().join("api.pem"), folder.path().join("api.key"));
    std::fs::write(&certificate_file, &certificate.certificate)?;
    std::fs::write(&key_file, &certificate.key)?;
    let tables = match wire {
        Wire::Clear | Wire::Http2 => LONG_IDLE.to_owned(),
        Wire::Tls => format!(
            "{LONG_IDLE}[listen.tls]\ncertificates = [{{ cert_file = {certificate_file:?}, key_file = {key_file:?} }}]\n"
        ),
    };
    let stack = Stack::start_with(SIZE, |setup| setup.configured(&tables)).await?;
    let caller = stack.valid.first().context("no caller")?;
    let guests = Guests {
        target: stack.gateway.address(),
        caller,
        tls: trusting(&authority)?,
    };
    // The first call of all makes what every later one finds.
    let first = guests.open(wire).await?;
    let before = resident(&stack)?;
    let mut kept = Vec::with_capacity(many);
    for _ in 0..many {
        kept.push(guests.open(wire).await?);
    }
    if wire != Wire::Http2 {
        eventually(RESTED, || all_doze(&stack, many)).await?;
    }
    let mut least = resident(&stack)?;
    for _ in 0..LOOKS {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        least = least.min(resident(&stack)?);
    }
    drop((first, kept));
    Ok(least.saturating_sub(before) / many as u64)
}

fn resident(stack: &Stack) -> anyhow::Result<u64> {
    Ok(ProcessUsage::of(stack.gateway.pid())?.resident_bytes)
}

async fn all_doze(stack: &Stack, many: usize) -> anyhow::Result<()> {
    let page = stack.gateway.metrics().await?;
    let dozing = metric(&page, "keyward_connections_dozing", &[]).unwrap_or_default();
    ensure!(dozing >= many as f64, "{dozing} of {many} doze");
    Ok(())
}

/// A connection is open as long as this is.
type Kept = Box<dyn Any>;

struct Guests<'s> {
    target: SocketAddr,
    caller: &'s Credentials,
    tls: TlsConnector,
}

impl Guests<'_> {
    /// One connection, after a call.
    async fn open(&self, wire: Wire) -> anyhow::Result<Kept> {
        let stream = TcpStream::connect(self.target).await?;
        match wire {
            Wire::Clear => self.call(stream).await,
            Wire::Tls => {
                let name = ServerName::try_from(NAME)?;
                self.call(self.tls.connect(name, stream).await?).await
            }
            Wire::Http2 => tokio::time::timeout(ANSWERED, self.call_http2(stream)).await?,
        }
    }

    async fn call(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> anyhow::Result<Kept> {
        stream
            .write_all(head("/plain", "", self.caller).as_bytes())
            .await?;
        until(&mut stream, b"Hello, world!").await?;
        Ok(Box::new(stream))
    }

    async fn call_http2(&self, stream: TcpStream) -> anyhow::Result<Kept> {
        let (mut sender, connection) = h2::client::handshake(stream).await?;
        // What a connection ends with is told by the calls on it.
        tokio::spawn(async move { drop(connection.await) });
        let key = |key: &Option<String>| key.clone().unwrap_or_default();
        let request = http::Request::get("http://api.example.com/plain")
            .header("x-api-key", key(&self.caller.account_key))
            .header("x-customer-key", key(&self.caller.customer_key))
            .body(())?;
        let (answer, _) = sender.send_request(request, true)?;
        let answer = answer.await?;
        ensure!(answer.status() == http::StatusCode::OK, "{answer:?}");
        let mut body = answer.into_body();
        while let Some(piece) = body.data().await {
            let length = piece?.len();
            body.flow_control().release_capacity(length)?;
        }
        // The connection ends with its last handle.
        Ok(Box::new(sender))
    }
}

fn trusting(authority: &Authority) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
