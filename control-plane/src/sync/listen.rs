//! Hears what other control planes tell on PostgreSQL: that they committed a change, or wrote how their gateways stand.
//!
//! Nothing depends on it but speed: the feed looks once a second by itself, and so do changes that wait. What was told
//! while the connection was lost is looked up once it is back.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgNotification};
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::gateways::Gateways;
use crate::store::{Store, changes, gateways as told};

const TRY_AGAIN: Duration = Duration::from_millis(250);
/// A connection on which nothing came for so long is asked whether it is still one.
const QUIET: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Listens until `shutdown`, connecting again as often as it takes.
pub(super) async fn listen(store: Store, feed: Arc<Feed>, gateways: Gateways, shutdown: CancellationToken) {
    let hearing = async {
        loop {
            match store.listen(&[changes::COMMITTED, told::TOLD]).await {
                Ok(Some(listener)) => hear(listener, &feed, &gateways).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "other control planes can't be heard; looking once a second")
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    };
    tokio::select! {
        () = hearing => {}
        () = shutdown.cancelled() => {}
    }
}

/// Ends with the connection.
async fn hear(mut listener: PgListener, feed: &Feed, gateways: &Gateways) {
    // Lost connections are made anew by `listen`, which then looks up what was missed.
    listener.eager_reconnect(false);
    feed.look();
    gateways.others_moved();
    loop {
        match tokio::time::timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => heard(&notification, feed, gateways),
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the connection to other control planes broke");
                return;
            }
            Err(_) => {
                let asked = tokio::time::timeout(ANSWERS_WITHIN, listener.execute("SELECT 1"));
                if !matches!(asked.await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

fn heard(notification: &PgNotification, feed: &Feed, gateways: &Gateways) {
    let payload = notification.payload();
    if notification.channel() == changes::COMMITTED {
        if payload
            .parse()
            .is_ok_and(|revision: u64| revision > *feed.head().borrow())
        {
            feed.look();
        }
        return;
    }
    match payload.split_once(' ') {
        Some((_, control_plane)) if control_plane == gateways.control_plane() => {}
        Some((told::MOVED, _)) => gateways.others_moved(),
        _ => gateways.others_wrote(),
    }
}
