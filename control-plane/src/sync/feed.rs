//! The change log's newest part, read once for all streams.
//!
//! One task reads what was committed, woken by its announcement, by another control plane's commit where those can be
//! heard, and once a second in any case. It keeps a bounded tail in memory, from which every stream takes what it lacks in its own time: a slow
//! stream holds back nobody, and one that fell out of the tail reads the database itself.

use std::sync::Arc;
use std::time::Duration;

use keyward_contract::feed as wire;
use keyward_contract::{AccountId, UnixMillis};
use parking_lot::RwLock;
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::gateways::Gateways;
use super::quota::QuotaBook;
use crate::store::{self, Store, changes};

mod tail;

pub use tail::Tail;

const POLL: Duration = Duration::from_secs(1);
const COMPACT_EVERY: Duration = Duration::from_secs(600);
/// The log keeps so many changes; a gateway that is further behind takes a snapshot.
const KEPT_CHANGES: u64 = 100_000;
/// One compacting statement removes so many, so that it holds the writer briefly.
const REMOVED_AT_ONCE: u32 = 2_000;
const READ_AT_ONCE: u32 = 256;

/// What came after a revision.
pub(super) enum Next {
    /// These, without a gap.
    Changes(Vec<Arc<wire::Change>>),
    /// Nothing yet.
    Nothing,
    /// More than the log still holds: take a snapshot.
    Compacted,
}

pub(super) struct Feed {
    store: Store,
    gateways: Gateways,
    book: Arc<QuotaBook>,
    tail: RwLock<Tail>,
    head: watch::Sender<u64>,
    look: Notify,
}

impl Feed {
    /// Begins at the log's head.
    pub(super) async fn start(
        store: &Store,
        gateways: &Gateways,
        book: Arc<QuotaBook>,
    ) -> store::Result<Arc<Self>> {
        let head = changes::head(store).await?;
        Ok(Arc::new(Self {
            store: store.clone(),
            gateways: gateways.clone(),
            book,
            tail: RwLock::new(Tail::after_revision(head)),
            head: watch::Sender::new(head),
            look: Notify::new(),
        }))
    }

    /// The newest revision that streams can have.
    pub(super) fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Another control plane may have committed: the log is read now.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// The newest revision of the log, asked of the database only when `claimed` is beyond what was read.
    pub(super) async fn log_head(&self, claimed: u64) -> store::Result<u64> {
        let head = *self.head.borrow();
        if claimed <= head {
            Ok(head)
        } else {
            changes::head(&self.store).await
        }
    }

    /// The next changes after a revision: from memory, or from the database for who is far behind.
    pub(super) async fn after(&self, revision: u64) -> store::Result<Next> {
        if revision >= *self.head.borrow() {
            return Ok(Next::Nothing);
        }
        if let Some(changes) = self.tail.read().after(revision, READ_AT_ONCE as usize) {
            return Ok(Next::Changes(changes));
        }
        let rows = changes::after(&self.store, revision, READ_AT_ONCE).await?;
        let changes: Option<Vec<_>> = (revision + 1..)
            .zip(rows)
            .map(|(expected, (revision, encoded))| {
                let change = wire::Change::decode(encoded.as_slice()).ok();
                change.filter(|_| revision == expected).map(Arc::new)
            })
            .collect();
        Ok(match changes {
            Some(changes) if !changes.is_empty() => Next::Changes(changes),
            // A gap, an unreadable row, or nothing where the head says there is something.
            _ => Next::Compacted,
        })
    }

    /// Follows the log until `shutdown`.
    pub(super) async fn follow_log(self: Arc<Self>, shutdown: CancellationToken) {
        let mut announced = self.gateways.head();
        let mut compact = tokio::time::interval(COMPACT_EVERY);
        loop {
            announced.borrow_and_update();
            if let Err(error) = self.read_on().await {
                tracing::warn!(%error, "the change log can't be read; trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = announced.changed() => {}
                () = self.look.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                _ = compact.tick() => self.compact().await,
            }
        }
    }

    async fn read_on(&self) -> store::Result<()> {
        loop {
            let last = *self.head.borrow();
            let rows = changes::after(&self.store, last, READ_AT_ONCE).await?;
            let Some((newest, _)) = rows.last() else {
                return Ok(());
            };
            let newest = *newest;
            for (revision, encoded) in rows {
                self.take(revision, &encoded);
            }
            self.gateways.announce(newest);
            self.head.send_replace(newest);
        }
    }

    fn take(&self, revision: u64, encoded: &[u8]) {
        match wire::Change::decode(encoded) {
            Ok(change) => {
                self.tell_quota(&change);
                self.tail.write().push(revision, change, encoded.len());
            }
            Err(error) => {
                tracing::error!(revision, %error, "a change in the log can't be read; gateways take snapshots");
                self.tail.write().restart(revision);
            }
        }
    }

    /// A changed contract start, or a grant, changes what is spent of what.
    fn tell_quota(&self, change: &wire::Change) {
        for record in &change.records {
            if let Some(wire::record::Record::Account(account)) = &record.record
                && let Ok(id) = AccountId::from_slice(&account.account_id)
            {
                self.book
                    .contract_changed(id, account.contract_start_ms.map(UnixMillis));
            }
        }
    }

    async fn compact(&self) {
        loop {
            match changes::compact(&self.store, KEPT_CHANGES, REMOVED_AT_ONCE).await {
                Ok(removed) if removed >= u64::from(REMOVED_AT_ONCE) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "the change log can't be compacted");
                    return;
                }
            }
        }
    }
}
