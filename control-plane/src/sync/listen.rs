//! Hears what other control planes tell on PostgreSQL: that they committed a change, wrote how their
//! gateways stand, merged usage, or let other gateways in.
//!
//! Only speed depends on it: the feed looks once a second by itself, and so do changes that wait. What was told while the
//! connection was lost is looked up once it is back.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::gateways::Gateways;
use super::quota::QuotaBook;
use crate::store::signals::Signals;
use crate::store::{Store, changes, gateway_access, gateways as told, usage};

const TRY_AGAIN: Duration = Duration::from_millis(250);
/// A connection on which nothing came for so long is asked whether it is still one.
const QUIET: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Whom it concerns.
pub(super) struct Listener {
    pub(super) feed: Arc<Feed>,
    pub(super) gateways: Gateways,
    pub(super) book: Arc<QuotaBook>,
    pub(super) signals: Signals,
}

impl Listener {
    /// Listens until `shutdown`, connecting again as often as it takes.
    pub(super) async fn listen(self, store: Store, shutdown: CancellationToken) {
        let channels = [
            changes::COMMITTED,
            told::TOLD,
            usage::MERGED,
            gateway_access::CHANGED,
        ];
        let hearing = async {
            loop {
                match store.listen(&channels).await {
                    Ok(Some(listener)) => self.hear(listener).await,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(%error, "other control planes can't be heard; looking once a second");
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
    async fn hear(&self, mut listener: PgListener) {
        // Lost connections are made anew by `listen`, and what was missed is looked up here.
        listener.eager_reconnect(false);
        self.feed.look();
        self.gateways.others_moved();
        self.book.all_moved_elsewhere();
        self.signals.gateway_access_changed();
        loop {
            match tokio::time::timeout(QUIET, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => self.heard(notification.channel(), notification.payload()),
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

    fn heard(&self, channel: &str, payload: &str) {
        if channel == changes::COMMITTED {
            match payload.parse::<u64>() {
                Ok(revision) if revision <= *self.feed.head().borrow() => {}
                Ok(_) => self.feed.look(),
                Err(_) => self.feed.check_soon(),
            }
            return;
        }
        if channel == gateway_access::CHANGED {
            self.signals.gateway_access_changed();
            return;
        }
        let Some((first, second)) = payload.split_once(' ') else {
            return;
        };
        let myself = self.gateways.control_plane();
        match (channel, first, second) {
            (usage::MERGED, who, accounts) if who != myself => {
                let accounts = accounts.split(',');
                self.book
                    .moved_elsewhere(accounts.filter_map(|id| id.parse().ok()));
            }
            (told::TOLD, told::MOVED, who) if who != myself => self.gateways.others_moved(),
            (told::TOLD, _, who) if who != myself => self.gateways.others_wrote(),
            _ => {}
        }
    }
}
