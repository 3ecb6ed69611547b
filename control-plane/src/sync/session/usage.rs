//! A gateway's usage reports, merged one after the other and acknowledged once they are durable; and what it says of its
//! starts, noted between them.

use std::time::Duration;

use keyward_contract::feed::UsageReport;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use super::Session;
use crate::store::usage::{self, Report, Reported, Starts};

const TRY_AGAIN: Duration = Duration::from_secs(1);
/// However long a stream lasts, its gateway is known to live.
const HEARD_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Ends only with the stream.
pub(super) async fn merge_reports(
    session: &Session,
    mut reports: mpsc::Receiver<UsageReport>,
    merged: mpsc::Sender<u64>,
) -> Result<(), Status> {
    let intake = &session.service.intake;
    while !intake.open(session.boot.clone()).await {
        tokio::time::sleep(TRY_AGAIN).await;
    }
    // From here on no report of an earlier stream of this gateway waits to be merged on this control plane.
    let mut oldest = session.shared.oldest_boot.subscribe();
    let mut next_word = Instant::now();
    loop {
        tokio::select! {
            report = reports.recv() => {
                let Some(report) = report else { break };
                let sequence = report.sequence;
                let checked = check(session, report);
                if intake.merge(checked).await && merged.send(sequence).await.is_err() {
                    break;
                }
            }
            Ok(()) = oldest.changed() => next_word = Instant::now(),
            () = tokio::time::sleep_until(next_word) => {
                let starts = Starts { present: session.boot.epoch, oldest: *oldest.borrow_and_update() };
                next_word = Instant::now() + hear(session, starts).await;
            }
        }
    }
    // The reader and the writer say how the stream ended.
    std::future::pending().await
}

/// Notes which starts of the gateway are over; after what time to do so again.
async fn hear(session: &Session, starts: Starts) -> Duration {
    let gateway = &session.boot.gateway_id;
    match usage::hear(&session.service.store, gateway, starts, crate::sync::now()).await {
        Ok(()) => HEARD_EVERY,
        Err(error) => {
            tracing::warn!(gateway, %error, "what a gateway says of its starts can't be kept; trying again");
            TRY_AGAIN
        }
    }
}

/// Counters that can't be true are left out, and acknowledged with the rest: sent again they would be as wrong.
fn check(session: &Session, report: UsageReport) -> Report {
    let sent = report.counters.len();
    let mut first_wrong = None;
    let counters: Vec<Reported> = report
        .counters
        .into_iter()
        .filter_map(|counter| match Reported::check(counter, session.boot.epoch) {
            Ok(counter) => Some(counter),
            Err(wrong) => {
                first_wrong.get_or_insert(wrong);
                None
            }
        })
        .collect();
    if let Some(error) = first_wrong {
        let refused = sent - counters.len();
        tracing::error!(gateway = session.boot.gateway_id, refused, %error, "usage counters were refused");
        metrics::counter!("keyward_usage_counters_refused_total").increment(refused as u64);
    }
    Report {
        gateway_id: session.boot.gateway_id.clone(),
        counters,
    }
}
