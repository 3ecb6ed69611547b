//! Putting in force what came, in its order, and acknowledging it when nothing acts on what was before.
//!
//! Changes that have come by the time one is applied are applied with it, as one write to the disk and one
//! acknowledgement. A record that can't be true is refused alone, told upstream before the acknowledgement.

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

/// Frames that are looked at together.
const TOGETHER: usize = 256;
/// Below so many keys a snapshot may drop as many as it likes.
const FEW_KEYS: u64 = 100;
/// So many refused records of one batch are told upstream one by one.
const TOLD_REFUSALS: usize = 100;
/// Heartbeats whose revision is not in force yet.
const WAITING_HEARTBEATS: usize = 16;

pub(super) struct Applier<'s> {
    stream: &'s Stream<'s>,
    snapshot: Option<UnderWay>,
    /// Revision and echo of heartbeats that prove freshness once that revision is in force.
    heartbeats: VecDeque<(u64, u64)>,
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
        // A repeat is no news, but its acknowledgement may have been lost with the last stream.
        changes.retain(|change| change.revision > position.revision);
        let Some(last) = changes.last().map(|change| change.revision) else {
            return Ok(());
        };
        if self.snapshot.is_some() || position.feed_epoch != self.stream.feed_epoch {
            return Err(SyncError::Protocol("a change before the snapshot's end"));
        }
        let mut expected = position.revision;
        for change in &changes {
            expected = expected.saturating_add(1);
            if change.revision != expected {
                return Err(SyncError::Protocol("a gap between changes"));
            }
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
        let keys = Arc::clone(&self.stream.follower.keys);
        let noted = blocking(move || keys.acknowledge());
        let (noted, ()) = tokio::join!(noted, self.stream.follower.quiescence.passed());
        noted??;
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
        let position = keys.position();
        let held = keys.key_count();
        let is_same_history = position.feed_epoch == self.stream.feed_epoch;
        if is_same_history && held >= FEW_KEYS && begin.records < held.div_ceil(2) {
            let reason = "would drop more than half of the keys";
            let refusal = Refusal {
                revision: begin.revision,
                record: "snapshot".into(),
                reason: reason.into(),
            };
            self.stream
                .send_last(gateway_frame::Frame::Refusal(refusal))
                .await?;
            return Err(SyncError::MassDeletion {
                held,
                offered: begin.records,
            });
        }
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
            writer,
            begin,
            received,
        } = self.under_way()?;
        if end.revision != begin.revision || received != begin.records {
            return Err(SyncError::Protocol("a snapshot is not what its beginning said"));
        }
        blocking(move || writer.finish()).await??;
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
        if self.snapshot.is_some() || position.feed_epoch != self.stream.feed_epoch {
            return;
        }
        self.heartbeats.retain(|(revision, echo_ms)| {
            let is_in_force = *revision <= position.revision;
            if is_in_force {
                state.heard(*echo_ms);
                state.following();
            }
            !is_in_force
        });
    }
}
