//! Putting in force what came, in its order, and acknowledging it when nothing acts on what was before.
//!
//! Changes that have come by the time one is applied are applied with it, as one write to the disk and one
//! acknowledgement. A record that can't be true is refused alone, told upstream before the acknowledgement.
//!
//! A snapshot that would drop more than half of the keys is held ([`held`]): nothing is acknowledged, until it comes again
//! confirmed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyward_contract::feed::{
    Change, ControlHeartbeat, Refusal, SnapshotBegin, SnapshotChunk, SnapshotEnd, control_frame::Frame,
    gateway_frame,
};
use tokio::sync::mpsc;

use super::SyncError;
use super::stream::{Stream, blocking};
use crate::keys::{Position, RefusedRecord, SnapshotWriter};

mod held;

/// Frames that are looked at together.
const TOGETHER: usize = 256;
/// So many refused records of one batch are told upstream one by one.
const TOLD_REFUSALS: usize = 100;
/// Heartbeats whose revision is not in force yet.
const WAITING_HEARTBEATS: usize = 16;

pub(super) struct Applier<'s> {
    stream: &'s Stream<'s>,
    snapshot: Option<UnderWay>,
    /// Revision and echo of heartbeats that prove freshness once that revision is in force.
    heartbeats: VecDeque<(u64, u64)>,
    /// Up to which revision a held snapshot and the changes after it have taken rights away.
    restricted: Option<u64>,
}

/// A snapshot that is coming in.
struct UnderWay {
    writer: SnapshotWriter,
    begin: SnapshotBegin,
    received: u64,
}

impl<'s> Applier<'s> {
    pub(super) fn new(stream: &'s Stream<'s>) -> Self {
        Self {
            stream,
            snapshot: None,
            heartbeats: VecDeque::new(),
            restricted: None,
        }
    }

    pub(super) async fn run(mut self, mut frames: mpsc::Receiver<Frame>) -> Result<(), SyncError> {
        let mut came = Vec::with_capacity(TOGETHER);
        while frames.recv_many(&mut came, TOGETHER).await > 0 {
            let mut changes = Vec::new();
            for frame in came.drain(..) {
                if let Frame::Change(change) = frame {
                    changes.push(change);
                    continue;
                }
                self.changes(std::mem::take(&mut changes)).await?;
                self.other(frame).await?;
            }
            self.changes(changes).await?;
        }
        Err(SyncError::Closed)
    }

    async fn other(&mut self, frame: Frame) -> Result<(), SyncError> {
        match frame {
            Frame::SnapshotBegin(begin) => self.begin(begin).await,
            Frame::SnapshotChunk(chunk) => self.chunk(chunk).await,
            Frame::SnapshotEnd(end) => self.end(&end).await,
            Frame::Heartbeat(heartbeat) => {
                self.heartbeat(&heartbeat);
                Ok(())
            }
            Frame::Change(_) | Frame::Welcome(_) | Frame::UsageAcknowledged(_) | Frame::QuotaUsage(_) => {
                Err(SyncError::Protocol("a frame out of place"))
            }
        }
    }

    async fn changes(&mut self, mut changes: Vec<Change>) -> Result<(), SyncError> {
        let position = self.stream.follower.keys.position();
        let reached = self.restricted.unwrap_or(position.revision);
        // A repeat is no news, but its acknowledgement may have been lost with the last stream.
        changes.retain(|change| change.revision > reached);
        let Some(last) = changes.last().map(|change| change.revision) else {
            return Ok(());
        };
        let is_followed = self.restricted.is_some() || position.feed_epoch == self.stream.feed_epoch;
        if self.snapshot.is_some() || !is_followed {
            return Err(SyncError::Protocol("a change before the snapshot's end"));
        }
        let mut expected = reached;
        for change in &changes {
            expected = expected.saturating_add(1);
            if change.revision != expected {
                return Err(SyncError::Protocol("a gap between changes"));
            }
        }
        if self.restricted.is_some() {
            return self.restrict(changes, last).await;
        }
        let (keys, many) = (Arc::clone(&self.stream.follower.keys), changes.len());
        let refused = blocking(move || keys.apply(changes)).await??;
        self.stream
            .follower
            .state
            .changes
            .fetch_add(many as u64, Ordering::Relaxed);
        self.refuse(&refused).await?;
        self.in_force(last).await
    }

    /// Acknowledges once no worker acts on what was before.
    async fn in_force(&mut self, revision: u64) -> Result<(), SyncError> {
        self.stream.follower.quiescence.passed().await;
        self.stream.acknowledge(revision).await?;
        self.prove_freshness();
        Ok(())
    }

    async fn refuse(&self, refused: &[RefusedRecord]) -> Result<(), SyncError> {
        self.stream
            .follower
            .state
            .refused
            .fetch_add(refused.len() as u64, Ordering::Relaxed);
        for RefusedRecord { revision, error } in refused.iter().take(TOLD_REFUSALS) {
            tracing::error!(revision, %error, "a record was refused; the last good one stays in force");
            let refusal = Refusal {
                revision: *revision,
                record: error.record.clone(),
                reason: error.reason.clone(),
            };
            self.stream.send(gateway_frame::Frame::Refusal(refusal)).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, begin: SnapshotBegin) -> Result<(), SyncError> {
        let keys = Arc::clone(&self.stream.follower.keys);
        tracing::info!(
            revision = begin.revision,
            records = begin.records,
            "a snapshot is coming"
        );
        self.stream.quota.hold();
        let position = Position {
            feed_epoch: self.stream.feed_epoch.clone(),
            revision: begin.revision,
            history: begin.history.clone(),
            scope: self.stream.scope.clone(),
        };
        let writer = blocking(move || keys.begin_snapshot(position)).await??;
        self.snapshot = Some(UnderWay {
            writer,
            begin,
            received: 0,
        });
        Ok(())
    }

    async fn chunk(&mut self, chunk: SnapshotChunk) -> Result<(), SyncError> {
        let UnderWay {
            mut writer,
            begin,
            received,
        } = self.under_way()?;
        let received = received.saturating_add(chunk.records.len() as u64);
        let (writer, refused) = blocking(move || {
            let refused = writer.add(chunk.records);
            (writer, refused)
        })
        .await?;
        self.snapshot = Some(UnderWay {
            writer,
            begin,
            received,
        });
        self.refuse(&refused?).await
    }

    async fn end(&mut self, end: &SnapshotEnd) -> Result<(), SyncError> {
        let UnderWay {
            mut writer,
            begin,
            received,
        } = self.under_way()?;
        // Either end may leave the number to the other.
        let said = [begin.records, end.records];
        let is_whole =
            said.iter().all(|said| [0, received].contains(said)) && (received == 0 || said != [0, 0]);
        if end.revision != begin.revision || !is_whole {
            return Err(SyncError::Protocol("a snapshot is not what its beginning said"));
        }
        let (writer, refused) = blocking(move || {
            let refused = writer.complete();
            (writer, refused)
        })
        .await?;
        self.refuse(&refused?).await?;
        let Some(writer) = self.unless_held(writer, &begin).await? else {
            return Ok(());
        };
        blocking(move || writer.finish()).await??;
        self.restricted = None;
        self.stream.follower.state.syncing();
        self.stream
            .follower
            .state
            .snapshots
            .fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            revision = end.revision,
            records = received,
            "the snapshot is in force"
        );
        self.stream.quota.release();
        self.in_force(end.revision).await
    }

    fn under_way(&mut self) -> Result<UnderWay, SyncError> {
        self.snapshot
            .take()
            .ok_or(SyncError::Protocol("a piece of no snapshot"))
    }

    fn heartbeat(&mut self, heartbeat: &ControlHeartbeat) {
        self.stream
            .follower
            .state
            .told(heartbeat.revision, heartbeat.live_gateways);
        if heartbeat.echo_ms > 0 {
            self.heartbeats.push_back((heartbeat.revision, heartbeat.echo_ms));
        }
        // Whoever is so far behind proves it by a later one.
        if self.heartbeats.len() > WAITING_HEARTBEATS {
            self.heartbeats.pop_front();
        }
        self.prove_freshness();
    }

    fn prove_freshness(&mut self) {
        let state = &self.stream.follower.state;
        let position = self.stream.follower.keys.position();
        let reached = match self.restricted {
            // Whoever has lost rights has lost them here, too.
            Some(restricted) => restricted,
            None if position.feed_epoch == self.stream.feed_epoch => position.revision,
            None => return,
        };
        if self.snapshot.is_some() {
            return;
        }
        let is_holding = self.restricted.is_some();
        self.heartbeats.retain(|(revision, echo_ms)| {
            let is_in_force = *revision <= reached;
            if is_in_force {
                state.heard(*echo_ms);
            }
            if is_in_force && !is_holding {
                state.following();
            }
            !is_in_force
        });
    }
}
