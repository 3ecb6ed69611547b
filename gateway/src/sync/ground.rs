//! The ground on which a stream's changes are put in force: the key set, the workers, and the way up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyward_contract::Record;
use keyward_contract::feed::{self, Change, gateway_frame::Frame};
use tokio::time::Instant;

use super::apply::{Event, Ground};
use super::stream::{Stream, blocking};
use super::{Follower, SyncError};
use crate::keys::{Loss, Position, RefusedRecord, SnapshotWriter};

/// From one write of changes to the next, unless many wait: what a steady flow of them costs is then bounded, and a
/// change alone waits for nothing.
const REST: Duration = Duration::from_millis(10);

impl Follower {
    /// Waits for what the last stream left: what a Hello says is in force counts as acknowledged. Work that had begun on
    /// the replica ends, else a snapshot could take back what the next stream brings; and no worker acts any more on what
    /// was before it.
    pub(super) async fn settle(&self) {
        drop(self.on_disk.lock().await);
        if self.is_unsettled.load(Ordering::Relaxed) {
            self.passed().await;
        }
    }

    /// What is in force is about to be acknowledged, or told by a Hello, which counts as much.
    pub(super) async fn acknowledging(&self) -> Result<(), SyncError> {
        let keys = Arc::clone(&self.keys);
        Ok(blocking(move || keys.acknowledge()).await??)
    }

    async fn passed(&self) {
        self.quiescence.passed().await;
        self.is_unsettled.store(false, Ordering::Relaxed);
    }

    /// Works on the replica, one thing at a time, also when nobody waits for it any more.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SyncError> {
        let busy = Arc::clone(&self.on_disk).lock_owned().await;
        self.is_unsettled.store(true, Ordering::Relaxed);
        blocking(move || {
            let done = work();
            drop(busy);
            done
        })
        .await
    }
}

impl Stream<'_> {
    /// What comes now can't be told change by change.
    fn shut_elder(&self) {
        if let Some(elder) = self.follower.quiescence.elder() {
            elder.shut();
        }
    }
}

impl Ground for Stream<'_> {
    type Snapshot = SnapshotWriter;

    fn source(&self) -> (&str, &str) {
        (&self.feed_epoch, &self.scope)
    }

    fn position(&self) -> Position {
        self.follower.keys.position()
    }

    async fn rested(&self) {
        let written = *self.written.lock();
        if let Some(written) = written {
            tokio::time::sleep_until(written + REST).await;
        }
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<RefusedRecord>, SyncError> {
        *self.written.lock() = Some(Instant::now());
        if let Some(elder) = self.follower.quiescence.elder() {
            elder.tell(&changes);
        }
        let keys = Arc::clone(&self.follower.keys);
        Ok(self.follower.on_disk(move || keys.apply(changes)).await??)
    }

    async fn restrict(&self, records: Vec<Record>) -> Result<(), SyncError> {
        self.shut_elder();
        let keys = Arc::clone(&self.follower.keys);
        let restricted = self.follower.on_disk(move || keys.restrict(&records)).await?;
        Ok(restricted.map(drop)?)
    }

    async fn begin(&self, position: Position) -> Result<SnapshotWriter, SyncError> {
        let keys = Arc::clone(&self.follower.keys);
        Ok(self
            .follower
            .on_disk(move || keys.begin_snapshot(position))
            .await??)
    }

    async fn add(
        &self,
        mut snapshot: SnapshotWriter,
        records: Vec<feed::Record>,
    ) -> Result<(SnapshotWriter, Vec<RefusedRecord>), SyncError> {
        let (snapshot, refused) = self
            .follower
            .on_disk(move || {
                let refused = snapshot.add(records);
                (snapshot, refused)
            })
            .await?;
        Ok((snapshot, refused?))
    }

    async fn complete(
        &self,
        mut snapshot: SnapshotWriter,
    ) -> Result<(SnapshotWriter, Vec<RefusedRecord>), SyncError> {
        let work = move || {
            let refused = snapshot.complete();
            (snapshot, refused)
        };
        let (snapshot, refused) = self.follower.on_disk(work).await?;
        Ok((snapshot, refused?))
    }

    async fn loss(&self, snapshot: SnapshotWriter) -> Result<(SnapshotWriter, Option<Loss>), SyncError> {
        let work = move || {
            let loss = snapshot.mass_deletion();
            (snapshot, loss)
        };
        let (snapshot, loss) = self.follower.on_disk(work).await?;
        Ok((snapshot, loss?))
    }

    async fn take_away(&self, snapshot: SnapshotWriter) -> Result<usize, SyncError> {
        Ok(self.follower.on_disk(move || snapshot.take_away()).await??)
    }

    async fn finish(&self, snapshot: SnapshotWriter) -> Result<(), SyncError> {
        self.shut_elder();
        Ok(self.follower.on_disk(move || snapshot.finish()).await??)
    }

    async fn acknowledging(&self) -> Result<(), SyncError> {
        self.follower.acknowledging().await
    }

    async fn passed(&self) {
        self.follower.passed().await;
    }

    async fn send(&self, frame: Frame) -> Result<(), SyncError> {
        Stream::send(self, frame).await
    }

    fn note(&self, event: Event) {
        let state = &self.follower.state;
        match event {
            Event::Changes(many) => drop(state.changes.fetch_add(many, Ordering::Relaxed)),
            Event::Refused(many) => drop(state.refused.fetch_add(many, Ordering::Relaxed)),
            Event::SnapshotBegun => self.quota.hold(),
            Event::Holding(held) => {
                state.holding(held);
                self.quota.release();
            }
            Event::SnapshotInForce => {
                state.syncing();
                state.snapshots.fetch_add(1, Ordering::Relaxed);
                self.quota.release();
            }
            Event::Told { head, live_gateways } => state.told(head, live_gateways),
            Event::Fresh {
                steady_ms,
                is_holding,
            } => {
                state.heard(steady_ms);
                if !is_holding {
                    state.following();
                }
            }
        }
    }
}
