//! The sync service: how key changes reach gateways, and their usage comes back.
//!
//! Each gateway holds one stream. `follow` lets it in, `resume` says from where it goes on. `feed` reads the change log once for all of them,
//! `snapshot` the whole database, `session` is one stream, `frames` what goes out over it;
//! `gateways` knows who has acknowledged what, `listen` hears other control planes, `intake` merges usage, `quota` tells what accounts have spent.
//! A gateway that is slow, broken or hostile costs its own stream and nobody else's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use keyward_config::SyncTls;
use keyward_contract::{DigestKey, UnixMillis};
use keyward_tls::{Reloading, ServerTls};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::Store;

mod access;
mod door;
mod feed;
mod follow;
mod frames;
mod gateways;
mod incoming;
mod intake;
mod listen;
mod quota;
mod resume;
mod scope;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

pub use access::SharedToken;
pub use feed::{Entry, Read, Tail};
pub use gateways::roster::{Roster, Standings, Unwelcome};
pub use gateways::{Confirming, Ends, GatewayStatus, Gateways, HeldSnapshot, Link, Propagation};
pub use resume::resumes_at;
pub use scope::Scope;
pub use session::Echo;

const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What gateways must show, and what they may ask for.
#[derive(Debug)]
pub struct SyncSecrets {
    /// The token that they may share.
    pub token: SharedToken,
    /// The key of all digests.
    pub digest_key: DigestKey,
    /// Our certificate, and whose we take; `None`: clear text.
    pub tls: Option<SyncTls>,
    /// What time it is for tokens.
    pub clock: Clock,
}

/// Listens for gateways and serves them until `shutdown`; the handle ends when every stream has.
///
/// # Errors
/// When the address can't be used, or the store or a certificate can't be read.
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
    let address = listener.local_addr().context("listen.sync")?;
    let SyncSecrets {
        token,
        digest_key,
        tls,
        clock,
    } = secrets;
    let tls = tls
        .map(|tls| Reloading::open(ServerTls::files(&tls), ServerTls::make))
        .transpose()?
        .map(Arc::new);
    let access = access::Access::open(store.clone(), digest_key.clone(), clock, (token, tls.clone()))
        .await
        .context("who may be a gateway")?;
    let access = Arc::new(access);
    let admitting = tokio::spawn(Arc::clone(&access).follow(shutdown.clone()));
    let book = Arc::new(quota::QuotaBook::default());
    let feed = feed::Feed::start(&store, &gateways, Arc::clone(&book))
        .await
        .context("the change log")?;
    gateways.begin_sharing().await.context("other control planes")?;
    let sharing = tokio::spawn(gateways.clone().keep_sharing(shutdown.clone()));
    let ears = listen::Listener {
        feed: Arc::clone(&feed),
        gateways: gateways.clone(),
        book: Arc::clone(&book),
        signals: store.signals().clone(),
    };
    let listening = tokio::spawn(ears.listen(store.clone(), shutdown.clone()));
    let (intake, merging) = intake::start(&store, Arc::clone(&book), &gateways, shutdown.clone());
    let snapshots = snapshot::Snapshots::new(store.clone(), snapshot::folder(&store));
    let following = tokio::spawn({
        let (feed, snapshots) = (Arc::clone(&feed), snapshots.clone());
        feed.follow_log(move || snapshots.needed(), shutdown.clone())
    });

    let sharer = gateways.clone();
    let service = follow::Follow::new(follow::Service {
        store: store.clone(),
        snapshots,
        gateways,
        access,
        digest_key,
        feed,
        book,
        intake,
        shutdown: shutdown.clone(),
    });
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(16)
        .add_service(door::Door::to(service))
        .serve_with_incoming_shutdown(
            incoming::incoming(listener, tls, shutdown.clone()),
            shutdown.clone().cancelled_owned(),
        );
    let handle = tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the sync listener failed");
        }
        // Without its listener the service is over, whoever asked for that.
        shutdown.cancel();
        let _ = tokio::join!(merging, following, sharing, listening, admitting);
        sharer.stop_sharing().await;
    });
    Ok((address, handle))
}

/// This instant.
fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
