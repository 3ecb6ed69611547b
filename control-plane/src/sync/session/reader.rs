//! What comes from a gateway. Nothing here waits for the database.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keyward_contract::feed::{
    Acknowledge, GatewayFrame, Refusal, SnapshotHeld, UsageReport, gateway_frame::Frame,
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Session;
use crate::sync::HeldSnapshot;

/// A stream on which nothing came for so long is over; heartbeats come every second.
const SILENCE: Duration = Duration::from_secs(10);
/// No report holds more counters.
const MOST_COUNTERS: usize = 5_000;

pub(super) struct Reader<'s> {
    pub(super) session: &'s Session,
    pub(super) reports: mpsc::Sender<UsageReport>,
}

impl Reader<'_> {
    pub(super) async fn run(&self, mut inbound: Streaming<GatewayFrame>) -> Result<(), Status> {
        loop {
            let frame = tokio::time::timeout(SILENCE, inbound.message())
                .await
                .map_err(|_| Status::deadline_exceeded("nothing was heard for 10 s"))??;
            let Some(frame) = frame else {
                return Ok(());
            };
            match frame.frame {
                Some(Frame::Acknowledge(acknowledge)) => self.acknowledge(&acknowledge)?,
                Some(Frame::Heartbeat(heartbeat)) => {
                    self.session.shared.hear_oldest_boot(heartbeat.oldest_boot_epoch);
                    self.heartbeat(heartbeat.steady_ms);
                }
                Some(Frame::Usage(report)) => self.usage(report)?,
                Some(Frame::Refusal(refusal)) => self.refusal(&refusal),
                Some(Frame::SnapshotHeld(held)) => self.held(&held)?,
                Some(Frame::Goodbye(_)) => {
                    self.session.membership.goodbye();
                    return Ok(());
                }
                Some(Frame::Hello(_)) => return Err(Status::invalid_argument("a second Hello")),
                // Of a kind that a later gateway knows, and that it can do without us knowing.
                None => metrics::counter!("keyward_sync_unknown_frames_total").increment(1),
            }
        }
    }

    fn acknowledge(&self, acknowledge: &Acknowledge) -> Result<(), Status> {
        if acknowledge.revision > self.session.shared.sent.load(Ordering::Acquire) {
            return Err(Status::invalid_argument(
                "a revision was acknowledged that was not sent",
            ));
        }
        self.session.membership.acknowledge(acknowledge.revision);
        Ok(())
    }

    fn held(&self, held: &SnapshotHeld) -> Result<(), Status> {
        let SnapshotHeld {
            revision,
            held,
            dropped,
        } = *held;
        if revision > self.session.shared.sent.load(Ordering::Acquire) {
            return Err(Status::invalid_argument("a snapshot is held that was not sent"));
        }
        let gateway = &self.session.boot.gateway_id;
        tracing::error!(
            gateway,
            revision,
            held,
            dropped,
            "a gateway holds a snapshot that would drop more than half of its keys: confirm it if it is right"
        );
        metrics::counter!("keyward_sync_held_snapshots_total").increment(1);
        self.session.membership.hold(HeldSnapshot {
            revision,
            held,
            dropped,
        });
        Ok(())
    }

    fn heartbeat(&self, steady_ms: u64) {
        let session = self.session;
        session.membership.heard();
        let now = Instant::now();
        let mut echo = session.shared.echo.lock();
        echo.heard(steady_ms, now);
        // Where there are other control planes, they must know first that it was heard.
        if !session.service.gateways.is_shared() {
            echo.recorded(now);
        }
        drop(echo);
        session.shared.heartbeat.notify_one();
    }

    fn usage(&self, report: UsageReport) -> Result<(), Status> {
        if report.counters.len() > MOST_COUNTERS {
            return Err(Status::invalid_argument(
                "a usage report of more than 5000 counters",
            ));
        }
        if self.reports.try_send(report).is_err() {
            metrics::counter!("keyward_usage_reports_deferred_total").increment(1);
        }
        Ok(())
    }

    fn refusal(&self, refusal: &Refusal) {
        let gateway = &self.session.boot.gateway_id;
        // These words came from outside.
        let (record, reason) = (brief(&refusal.record), brief(&refusal.reason));
        tracing::error!(
            gateway,
            revision = refusal.revision,
            record,
            reason,
            "a gateway refused a record"
        );
        metrics::counter!("keyward_sync_refused_records_total").increment(1);
        self.session.membership.refuse(refusal.revision);
    }
}

fn brief(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect()
}
