//! Opening a stream: connect, say who we are, take the Welcome.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyward_config::{Staleness, WhenStale};
use keyward_contract::feed::sync_client::SyncClient;
use keyward_contract::feed::{
    ControlFrame, GatewayFrame, Hello, PROTOCOL, Welcome, control_frame, gateway_frame,
};
use keyward_contract::{DigestKey, protocol};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::credentials::Credentials;
use super::dial::{Dialer, Fault};
use super::{Follower, SyncError};

const CONNECT: Duration = Duration::from_secs(2);
const WELCOME: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Chunks of a snapshot are below 1 MiB; a change holds what one transaction changed.
const LARGEST_FRAME: usize = 64 * 1024 * 1024;
/// Frames that wait to be written.
const FRAMES_AHEAD: usize = 64;
/// Enough for a snapshot to flow without pauses over a long line.
const WINDOW: u32 = 4 * 1024 * 1024;

/// An open stream, the Welcome taken.
pub(super) struct Opened {
    pub(super) welcome: Welcome,
    pub(super) up: mpsc::Sender<GatewayFrame>,
    pub(super) down: Streaming<ControlFrame>,
}

impl Follower {
    pub(super) async fn open(&self, url: &str) -> Result<Opened, SyncError> {
        let credentials = self.refreshed_credentials().await?;
        let fault = Fault::default();
        let opened = self.open_with(url, &credentials, &fault).await;
        // What TLS says is nearer to the cause than what became of it.
        opened.map_err(|error| fault.take().map_or(error, SyncError::Tls))
    }

    async fn connect(
        &self,
        url: &str,
        credentials: &Credentials,
        fault: &Fault,
    ) -> Result<Channel, SyncError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|_| SyncError::Address(url.to_owned()))?
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if !url.starts_with("https://") {
            let connecting = endpoint.connect_timeout(CONNECT).connect().await;
            return connecting.map_err(|error| SyncError::Connect(cause(&error)));
        }
        let config = credentials.tls.clone();
        let dialer = Dialer {
            config: config.ok_or_else(|| SyncError::Address(url.to_owned()))?,
            server_name: self.link.server_name.clone(),
            fault: fault.clone(),
        };
        let dial = tower::service_fn(move |uri| dialer.clone().dial(uri));
        let connecting = endpoint.connect_with_connector(dial).await;
        connecting.map_err(|error| SyncError::Connect(cause(&error)))
    }

    async fn open_with(
        &self,
        url: &str,
        credentials: &Credentials,
        fault: &Fault,
    ) -> Result<Opened, SyncError> {
        let channel = self.connect(url, credentials, fault).await?;
        let (up, frames) = mpsc::channel(FRAMES_AHEAD);
        let hello = GatewayFrame {
            frame: Some(gateway_frame::Frame::Hello(self.hello())),
        };
        up.try_send(hello).map_err(|_| SyncError::Closed)?;
        let mut request = Request::new(ReceiverStream::new(frames));
        if let Some(token) = &credentials.token {
            request.metadata_mut().insert("authorization", bearer(token)?);
        }
        let mut client = SyncClient::new(channel).max_decoding_message_size(LARGEST_FRAME);

        let opening = async {
            let mut down = client.follow(request).await?.into_inner();
            match down.message().await?.and_then(|frame| frame.frame) {
                Some(control_frame::Frame::Welcome(welcome)) => Ok((welcome, down)),
                _ => Err(SyncError::Protocol("the first frame is no Welcome")),
            }
        };
        let opened = tokio::time::timeout(WELCOME, opening).await;
        let (welcome, down) = opened.map_err(|_| SyncError::Silent(WELCOME))??;
        self.check(&welcome).await?;
        self.state.connections.fetch_add(1, Ordering::Relaxed);
        self.state.told(welcome.revision, welcome.live_gateways);
        Ok(Opened { welcome, up, down })
    }

    fn hello(&self) -> Hello {
        let position = self.keys.resumes_at();
        let Staleness { max, then } = self.link.staleness;
        let max_ms = max.map_or(0, |max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(1));
        Hello {
            gateway_id: self.link.gateway_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            revision: position.revision,
            feed_epoch: position.feed_epoch,
            boot_epoch: self.link.boot_epoch,
            wants_digest_key: !self.keys.digest_key_known(),
            address: self.link.address.clone(),
            max_staleness_ms: max_ms,
            denies_when_stale: max.is_some() && then == WhenStale::Deny,
            oldest_boot_epoch: self.ledger.oldest_boot_epoch(),
            oldest_protocol: protocol::OLDEST_PROTOCOL,
            history: position.history,
            scope: position.scope,
        }
    }

    /// What is shown from now on.
    async fn refreshed_credentials(&self) -> Result<Arc<Credentials>, SyncError> {
        let credentials = Arc::clone(&self.link.credentials);
        super::stream::blocking(move || {
            credentials.look();
            credentials.current()
        })
        .await
    }

    async fn check(&self, welcome: &Welcome) -> Result<(), SyncError> {
        if !protocol::OURS.contains(welcome.protocol) {
            return Err(SyncError::Protocol("the control plane speaks another protocol"));
        }
        if welcome.feed_epoch.is_empty() || welcome.feed_epoch.len() > 64 || welcome.scope.len() > 64 {
            return Err(SyncError::Protocol("the Welcome names no feed epoch"));
        }
        if self.keys.digest_key_known() {
            return Ok(());
        }
        let key = <[u8; 32]>::try_from(welcome.digest_key.as_slice())
            .map_err(|_| SyncError::Protocol("the digest key is not 32 bytes"))?;
        let (keys, key) = (Arc::clone(&self.keys), DigestKey::from_bytes(key));
        super::stream::blocking(move || keys.adopt_digest_key(key)).await??;
        Ok(())
    }
}

fn bearer(token: &SecretString) -> Result<MetadataValue<Ascii>, SyncError> {
    let mut value = MetadataValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| SyncError::Protocol("the gateway token is not visible ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What lies at the bottom of an error that says of itself no more than that it is one.
fn cause(error: &tonic::transport::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
