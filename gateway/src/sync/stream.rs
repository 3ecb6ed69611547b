//! One stream, from its Welcome to its end: what comes is sorted here and worked on elsewhere.
//!
//! Everything runs at once on the control thread: `apply` puts changes in force in their order, `usage` sends
//! reports, `quota` takes what others spent. The first that fails ends the stream.

use std::time::Duration;

use keyward_contract::feed::{
    ControlFrame, GatewayFrame, GatewayHeartbeat, Goodbye, control_frame, gateway_frame::Frame,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::apply::Applier;
use super::quota::QuotaNews;
use super::{Follower, LAST_USAGE, SyncError, wall_clock};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats come every second.
const SILENCE: Duration = Duration::from_secs(5);
/// A frame that can't be handed over for so long means that nobody reads.
const STALLED: Duration = Duration::from_secs(10);
/// How often it is looked whether usage is left when the gateway stops.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a last frame has to go out.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Frames that were read ahead of what is applied: chunks of a snapshot are half a megabyte each.
const READ_AHEAD: usize = 64;

/// The way up, and what the parts of a stream tell each other.
pub(super) struct Stream<'f> {
    pub(super) follower: &'f Follower,
    pub(super) stop: &'f CancellationToken,
    pub(super) feed_epoch: String,
    /// Under which scope it is sent.
    pub(super) scope: String,
    pub(super) quota: QuotaNews,
    /// When changes were last written.
    pub(super) written: Mutex<Option<Instant>>,
    /// The last usage report that was acknowledged.
    pub(super) acknowledged: watch::Sender<u64>,
    up: mpsc::Sender<GatewayFrame>,
}

impl Follower {
    /// Opens a stream and holds it; `Ok` when it ended because of `stop`.
    pub(super) async fn stream(&self, url: &str, stop: &CancellationToken) -> Result<(), SyncError> {
        self.settle().await;
        self.acknowledging().await?;
        let opened = self.open(url).await?;
        tracing::info!(
            url,
            revision = opened.welcome.revision,
            "connected to the control plane"
        );
        self.state.syncing();
        let stream = Stream {
            follower: self,
            stop,
            feed_epoch: opened.welcome.feed_epoch,
            scope: opened.welcome.scope,
            quota: QuotaNews::default(),
            written: Mutex::default(),
            acknowledged: watch::Sender::new(0),
            up: opened.up,
        };
        let (sort, sorted) = mpsc::channel(READ_AHEAD);
        tokio::select! {
            ended = stream.read(opened.down, sort) => ended,
            ended = Applier::new(&stream).run(sorted) => ended,
            ended = stream.quota.keep(&self.keys) => ended,
            ended = stream.report_usage() => ended,
            ended = stream.send_heartbeats() => ended,
            ended = stream.say_goodbye() => ended,
        }
    }
}

impl Stream<'_> {
    async fn read(
        &self,
        mut down: Streaming<ControlFrame>,
        sort: mpsc::Sender<control_frame::Frame>,
    ) -> Result<(), SyncError> {
        loop {
            let frame = tokio::time::timeout(SILENCE, down.message()).await;
            let frame = frame
                .map_err(|_| SyncError::Silent(SILENCE))??
                .ok_or(SyncError::Closed)?;
            match frame.frame {
                Some(control_frame::Frame::UsageAcknowledged(acknowledged)) => {
                    self.follower.ledger.acknowledged(acknowledged.sequence);
                    self.acknowledged.send_replace(acknowledged.sequence);
                }
                Some(control_frame::Frame::QuotaUsage(usage)) => self.quota.heard(usage),
                Some(control_frame::Frame::Welcome(_)) => {
                    return Err(SyncError::Protocol("a second Welcome"));
                }
                Some(frame) => sort.send(frame).await.map_err(|_| SyncError::Closed)?,
                // Of a kind that a later control plane knows.
                None => {}
            }
        }
    }

    async fn send_heartbeats(&self) -> Result<(), SyncError> {
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.send(Frame::Heartbeat(self.heartbeat())).await?;
        }
    }

    /// Waits for `stop`, then for the last usage, and takes leave.
    async fn say_goodbye(&self) -> Result<(), SyncError> {
        self.stop.cancelled().await;
        let mut acknowledged = self.acknowledged.subscribe();
        let flushed = async {
            while self.follower.ledger.pending() > 0 {
                // Usage of earlier starts is read in pieces; that nothing more is left comes without a word.
                let heard = tokio::time::timeout(LOOK_AGAIN, acknowledged.changed()).await;
                if heard.is_ok_and(|heard| heard.is_err()) {
                    return;
                }
            }
        };
        if tokio::time::timeout(LAST_USAGE, flushed).await.is_err() {
            let pending = self.follower.ledger.pending();
            tracing::warn!(
                pending,
                "stopping with usage that the control plane has not taken; it is reported at the next start"
            );
        }
        self.close_books().await?;
        self.send_last(Frame::Goodbye(Goodbye {})).await
    }

    /// Nothing is counted any more. When all of it was taken, this start is known for good, like those before it.
    async fn close_books(&self) -> Result<(), SyncError> {
        let ledger = &self.follower.ledger;
        let is_last = ledger.oldest_boot_epoch() == ledger.boot_epoch();
        if ledger.pending() > 0 || !is_last {
            return Ok(());
        }
        let mut heartbeat = self.heartbeat();
        heartbeat.oldest_boot_epoch = ledger.boot_epoch().saturating_add(1);
        self.send(Frame::Heartbeat(heartbeat)).await
    }

    fn heartbeat(&self) -> GatewayHeartbeat {
        GatewayHeartbeat {
            revision: self.follower.keys.position().revision,
            sent_at_ms: wall_clock().0,
            steady_ms: self.follower.state.steady_ms(),
            oldest_boot_epoch: self.follower.ledger.oldest_boot_epoch(),
        }
    }

    /// Sends a frame after which we leave: it gets time to go out, unless the control plane leaves first.
    pub(super) async fn send_last(&self, frame: Frame) -> Result<(), SyncError> {
        self.send(frame).await?;
        let _ = tokio::time::timeout(LAST_WORD, self.up.closed()).await;
        Ok(())
    }

    pub(super) async fn send(&self, frame: Frame) -> Result<(), SyncError> {
        let frame = GatewayFrame { frame: Some(frame) };
        match tokio::time::timeout(STALLED, self.up.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SyncError::Closed),
            Err(_) => Err(SyncError::Stalled(STALLED)),
        }
    }
}

/// Runs what waits for the disk off the control thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SyncError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| SyncError::Task)
}
