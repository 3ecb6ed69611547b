//! Putting in force what came, in its order, and acknowledging it when nothing acts on what was before.
//!
//! Changes that have come by the time one is applied are applied with it, as one write to the disk and one
//! acknowledgement; soon after such a write the next ones are waited for a little, so that a thousand changes a second
//! are a hundred writes. A record that can't be true is refused alone, told upstream before the acknowledgement.
//!
//! A snapshot that would drop more than half of the keys is held (`apply/held.rs`): nothing is acknowledged, until it comes again
//! confirmed.
//!
//! What it does it does to a [`Ground`]: in the gateway a stream and the key set, in the simulation of the whole
//! protocol (`tests/sync`) a network and a disk that fail by a seed.

use std::collections::VecDeque;

use keyward_contract::feed::{
    Acknowledge, Change, ControlHeartbeat, Refusal, SnapshotBegin, SnapshotChunk, SnapshotEnd,
    control_frame::Frame, gateway_frame,
};
use tokio::sync::mpsc;

use super::SyncError;
use crate::keys::{Position, RefusedRecord};

mod ground;
mod held;
#[cfg(test)]
mod tests;

pub use ground::{Event, Ground};

/// Frames that are looked at together.
const TOGETHER: usize = 256;
/// So many are worth a write, however soon after the last.
const WORTH_A_WRITE: usize = 32;
/// So many refused records of one batch are told upstream one by one.
const TOLD_REFUSALS: usize = 100;
/// Heartbeats whose revision is not in force yet.
const WAITING_HEARTBEATS: usize = 16;

/// Puts what one stream brings in force.
#[derive(Debug)]
pub struct Applier<'g, G: Ground> {
    ground: &'g G,
    snapshot: Option<UnderWay<G::Snapshot>>,
    /// Revision and echo of heartbeats that prove freshness once that revision is in force.
    heartbeats: VecDeque<(u64, u64)>,
    /// Up to which revision a held snapshot and the changes after it have taken rights away.
    restricted: Option<u64>,
}

/// A snapshot that is coming in.
#[derive(Debug)]
struct UnderWay<S> {
    writer: S,
    begin: SnapshotBegin,
    received: u64,
}

impl<'g, G: Ground> Applier<'g, G> {
    /// Of a stream that has just begun.
    pub fn new(ground: &'g G) -> Self {
        Self {
            ground,
            snapshot: None,
            heartbeats: VecDeque::new(),
            restricted: None,
        }
    }

    /// Works until the frames end or one is against the protocol.
    ///
    /// # Errors
    /// Always: why it ended.
    pub async fn run(mut self, mut frames: mpsc::Receiver<Frame>) -> Result<(), SyncError> {
        let mut came = Vec::with_capacity(TOGETHER);
        while frames.recv_many(&mut came, TOGETHER).await > 0 {
            self.gather(&mut came, &mut frames).await;
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

    /// Waits for more while it is too soon for the next write.
    async fn gather(&self, came: &mut Vec<Frame>, frames: &mut mpsc::Receiver<Frame>) {
        let rested = self.ground.rested();
        tokio::pin!(rested);
        while came.len() < WORTH_A_WRITE {
            let more = TOGETHER.saturating_sub(came.len());
            tokio::select! {
                biased;
                () = &mut rested => return,
                count = frames.recv_many(came, more) => if count == 0 {
                    return;
                }
            }
        }
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
        let position = self.ground.position();
        let reached = self.restricted.unwrap_or(position.revision);
        // A repeat is no news, but its acknowledgement may have been lost with the last stream.
        changes.retain(|change| change.revision > reached);
        let Some(last) = changes.last().map(|change| change.revision) else {
            return Ok(());
        };
        let is_followed = self.restricted.is_some() || position.feed_epoch == self.ground.source().0;
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
        let many = changes.len() as u64;
        let refused = self.ground.apply(changes).await?;
        self.ground.note(Event::Changes(many));
        self.refuse(&refused).await?;
        self.in_force(last).await
    }

    /// Acknowledges once no worker acts on what was before.
    async fn in_force(&mut self, revision: u64) -> Result<(), SyncError> {
        let (noted, ()) = tokio::join!(self.ground.acknowledging(), self.ground.passed());
        noted?;
        let acknowledge = gateway_frame::Frame::Acknowledge(Acknowledge { revision });
        self.ground.send(acknowledge).await?;
        self.prove_freshness();
        Ok(())
    }

    async fn refuse(&self, refused: &[RefusedRecord]) -> Result<(), SyncError> {
        self.ground.note(Event::Refused(refused.len() as u64));
        for RefusedRecord { revision, error } in refused.iter().take(TOLD_REFUSALS) {
            tracing::error!(revision, %error, "a record was refused; the last good one stays in force");
            let refusal = Refusal {
                revision: *revision,
                record: error.record.clone(),
                reason: error.reason.clone(),
            };
            self.ground.send(gateway_frame::Frame::Refusal(refusal)).await?;
        }
        Ok(())
    }

    async fn begin(&mut self, begin: SnapshotBegin) -> Result<(), SyncError> {
        tracing::info!(
            revision = begin.revision,
            records = begin.records,
            "a snapshot is coming"
        );
        self.ground.note(Event::SnapshotBegun);
        let (feed_epoch, scope) = self.ground.source();
        let position = Position {
            feed_epoch: feed_epoch.to_owned(),
            revision: begin.revision,
            history: begin.history.clone(),
            scope: scope.to_owned(),
        };
        let writer = self.ground.begin(position).await?;
        self.snapshot = Some(UnderWay {
            writer,
            begin,
            received: 0,
        });
        Ok(())
    }

    async fn chunk(&mut self, chunk: SnapshotChunk) -> Result<(), SyncError> {
        let UnderWay {
            writer,
            begin,
            received,
        } = self.under_way()?;
        let received = received.saturating_add(chunk.records.len() as u64);
        let (writer, refused) = self.ground.add(writer, chunk.records).await?;
        self.snapshot = Some(UnderWay {
            writer,
            begin,
            received,
        });
        self.refuse(&refused).await
    }

    async fn end(&mut self, end: &SnapshotEnd) -> Result<(), SyncError> {
        let UnderWay {
            writer,
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
        let (writer, refused) = self.ground.complete(writer).await?;
        self.refuse(&refused).await?;
        let Some(writer) = self.unless_held(writer, &begin).await? else {
            return Ok(());
        };
        self.ground.finish(writer).await?;
        self.restricted = None;
        tracing::info!(
            revision = end.revision,
            records = received,
            "the snapshot is in force"
        );
        self.ground.note(Event::SnapshotInForce);
        self.in_force(end.revision).await
    }

    fn under_way(&mut self) -> Result<UnderWay<G::Snapshot>, SyncError> {
        self.snapshot
            .take()
            .ok_or(SyncError::Protocol("a piece of no snapshot"))
    }

    fn heartbeat(&mut self, heartbeat: &ControlHeartbeat) {
        self.ground.note(Event::Told {
            head: heartbeat.revision,
            live_gateways: heartbeat.live_gateways,
        });
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
        let ground = self.ground;
        let position = self.ground.position();
        let reached = match self.restricted {
            // Whoever has lost rights has lost them here, too.
            Some(restricted) => restricted,
            None if position.feed_epoch == self.ground.source().0 => position.revision,
            None => return,
        };
        if self.snapshot.is_some() {
            return;
        }
        let is_holding = self.restricted.is_some();
        self.heartbeats.retain(|(revision, echo_ms)| {
            let is_in_force = *revision <= reached;
            if is_in_force {
                ground.note(Event::Fresh {
                    steady_ms: *echo_ms,
                    is_holding,
                });
            }
            !is_in_force
        });
    }
}
