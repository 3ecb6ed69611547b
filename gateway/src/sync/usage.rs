//! Usage on its way up: one report at a time, twice a second while something changed.

use std::time::Duration;

use keyward_contract::feed::gateway_frame::Frame;
use tokio::time::MissedTickBehavior;

use super::SyncError;
use super::stream::Stream;

const REPORT_EVERY: Duration = Duration::from_millis(500);
/// When the gateway stops, what the last calls counted is looked for so often.
const LAST_REPORTS_EVERY: Duration = Duration::from_millis(20);
/// A report holds so many counters: about half a megabyte.
const COUNTERS_A_REPORT: usize = 2_000;
/// A report that was not acknowledged for so long is made anew.
const UNANSWERED: Duration = Duration::from_secs(5);

impl Stream<'_> {
    pub(super) async fn report_usage(&self) -> Result<(), SyncError> {
        let mut tick = tokio::time::interval(REPORT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.stop.is_cancelled() {
                tokio::time::sleep(LAST_REPORTS_EVERY).await;
            } else {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = self.stop.cancelled() => {}
                }
            }
            self.report_what_changed().await?;
        }
    }

    async fn report_what_changed(&self) -> Result<(), SyncError> {
        let ledger = &self.follower.ledger;
        let mut acknowledged = self.acknowledged.subscribe();
        while let Some(report) = ledger.report(COUNTERS_A_REPORT) {
            let sequence = report.sequence;
            self.send(Frame::Usage(report)).await?;
            let answer = acknowledged.wait_for(|acknowledged| *acknowledged >= sequence);
            if tokio::time::timeout(UNANSWERED, answer).await.is_err() {
                tracing::warn!(sequence, "a usage report was not acknowledged; it is made anew");
                ledger.withdrawn();
                return Ok(());
            }
        }
        Ok(())
    }
}
