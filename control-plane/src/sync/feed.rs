//! The change log's newest part, read once for all streams.
//!
//! One task reads what was committed, woken by its announcement, by another control plane's commit where those can be
//! heard, and once a second in any case. It keeps a bounded tail in memory, encoded once, from which every stream takes what it lacks in
//! its own time: a slow stream holds back nobody, and one that fell out of the tail reads the database itself.
//!
//! It also sees to it that the log is still the one that it was (`epoch`): of a database that was put back to an
//! earlier state nothing is sent as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use keyward_contract::feed as wire;
use keyward_contract::{AccountId, UnixMillis};
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::gateways::Gateways;
use super::quota::QuotaBook;
use crate::store::changes::{self, Keep, Place};
use crate::store::{self, Store};

mod epoch;
mod tail;

pub(super) use epoch::Epoch;
pub use tail::{Entry, Read, Tail};

const POLL: Duration = Duration::from_secs(1);
const COMPACT_EVERY: Duration = Duration::from_secs(600);
/// The log keeps so many changes; a gateway that is further behind takes a snapshot.
const KEPT_CHANGES: u64 = 100_000;
/// What is older goes, however few there are.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// What is younger stays, however many there are: a snapshot may be five minutes old when a gateway is sent it, and it
/// takes at most five more. This holds for the snapshots of all control planes of one database.
const KEPT_AT_LEAST: Duration = Duration::from_secs(15 * 60);
/// One compacting statement removes so many, so that it holds the writer briefly.
const REMOVED_AT_ONCE: u32 = 2_000;
const READ_AT_ONCE: u32 = 256;

/// What came after a revision.
pub(super) enum Next {
    /// These, without a gap.
    Changes(Vec<Entry>),
    /// Nothing yet.
    Nothing,
    /// What no stream is sent one by one: take a snapshot of a later revision.
    Snapshot,
}

pub(super) struct Feed {
    store: Store,
    gateways: Gateways,
    book: Arc<QuotaBook>,
    tail: RwLock<Tail>,
    head: watch::Sender<u64>,
    look: Notify,
    doubt: Notify,
    epoch: epoch::Keeper,
}

/// What was read as what comes after a place; `None`: it does not.
fn following(mut last: Place, rows: Vec<(u64, Vec<u8>)>) -> Option<Vec<Entry>> {
    let mut entries = Vec::with_capacity(rows.len());
    for (revision, encoded) in rows {
        let read = Read::of(revision, encoded).ok()?;
        let is_next = last.revision.checked_add(1) == Some(revision);
        // What an earlier version made, or sent, has no history to go by.
        let can_follow = last.history.is_none() || read.follows(last.history.as_ref());
        if !is_next || !can_follow {
            return None;
        }
        last = read.entry.place;
        entries.push(read.entry);
    }
    Some(entries)
}

impl Feed {
    /// Begins at the log's head.
    pub(super) async fn start(
        store: &Store,
        gateways: &Gateways,
        book: Arc<QuotaBook>,
    ) -> store::Result<Arc<Self>> {
        let head = changes::head_and_epoch(store).await?;
        Ok(Arc::new(Self {
            store: store.clone(),
            gateways: gateways.clone(),
            book,
            tail: RwLock::new(Tail::new(head.place)),
            head: watch::Sender::new(head.place.revision),
            look: Notify::new(),
            doubt: Notify::new(),
            epoch: epoch::Keeper::new(head.epoch),
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

    /// What is known of the log may be wrong: it is checked now.
    pub(super) fn check_soon(&self) {
        self.doubt.notify_one();
    }

    /// The newest revision of the log, and the history at the claimed one; asked of the database only when it isn't in
    /// memory.
    pub(super) async fn log_at(&self, claimed: u64) -> store::Result<(u64, Option<changes::History>)> {
        let here = {
            let tail = self.tail.read();
            tail.at(claimed)
                .map(|place| (tail.newest().revision, place.history))
        };
        match here {
            Some(here) => Ok(here),
            None => changes::head_and_history_at(&self.store, claimed).await,
        }
    }

    /// The next changes after a place: from memory, or from the database for who is far behind.
    pub(super) async fn after(&self, place: Place) -> store::Result<Next> {
        if place.revision >= *self.head.borrow() {
            return Ok(Next::Nothing);
        }
        let here = self.tail.read().after(place.revision, READ_AT_ONCE as usize);
        let entries = match here {
            Some(entries) => entries,
            None => {
                let rows = changes::after(&self.store, place.revision, READ_AT_ONCE).await?;
                // A gap, an unreadable row, one of another log, or nothing where the head says there is something.
                following(place, rows).unwrap_or_default()
            }
        };
        let sendable = entries
            .iter()
            .position(Entry::is_too_long)
            .unwrap_or(entries.len());
        Ok(match sendable {
            0 => Next::Snapshot,
            sendable => Next::Changes(entries.into_iter().take(sendable).collect()),
        })
    }

    /// Follows the log until `shutdown`. `needed` says from where on somebody is about to read it.
    pub(super) async fn follow_log(
        self: Arc<Self>,
        needed: impl Fn() -> Option<u64> + Send,
        shutdown: CancellationToken,
    ) {
        let mut announced = self.gateways.head();
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
                () = self.doubt.notified() => self.check().await,
                _ = poll.tick() => self.check().await,
                _ = compact.tick() => self.compact(needed()).await,
            }
        }
    }

    async fn read_on(&self) -> store::Result<()> {
        loop {
            let last = self.tail.read().newest();
            let rows = changes::after(&self.store, last.revision, READ_AT_ONCE).await?;
            let Some((newest, _)) = rows.last() else {
                return Ok(());
            };
            let newest = *newest;
            for (revision, encoded) in rows {
                if !self.take(revision, encoded) {
                    let present = self.epoch.present();
                    return self
                        .began_anew(&present, "a change doesn't follow the one before")
                        .await;
                }
            }
            self.gateways.announce(newest);
            self.head.send_replace(newest);
        }
    }

    /// Whether it follows what was there before.
    fn take(&self, revision: u64, encoded: Vec<u8>) -> bool {
        match Read::of(revision, encoded) {
            Ok(read) => {
                if !self.tail.read().goes_on_with(&read) {
                    return false;
                }
                self.tell_quota(&read.change);
                self.tail.write().push(read.entry);
            }
            Err(error) => {
                tracing::error!(revision, %error, "a change in the log can't be read; gateways take snapshots");
                *self.tail.write() = Tail::after_unread(revision);
            }
        }
        true
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

    pub(super) async fn compact(&self, needed: Option<u64>) {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let keep = Keep {
            newest: KEPT_CHANGES,
            longest_ms: ms(KEPT_FOR),
            shortest_ms: ms(KEPT_AT_LEAST),
            after: needed.unwrap_or(u64::MAX),
        };
        loop {
            match changes::compact(&self.store, keep, super::now(), REMOVED_AT_ONCE).await {
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
