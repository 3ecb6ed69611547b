//! A gateway's usage reports, merged one after the other and acknowledged once they are durable.

use std::time::Duration;

use keyward_contract::feed::UsageReport;
use tokio::sync::mpsc;
use tonic::Status;

use super::Session;
use crate::store::usage::{Report, Reported};

const TRY_AGAIN: Duration = Duration::from_secs(1);

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
    while let Some(report) = reports.recv().await {
        let sequence = report.sequence;
        let checked = check(session, report);
        if intake.merge(checked).await && merged.send(sequence).await.is_err() {
            break;
        }
    }
    // The reader and the writer say how the stream ended.
    std::future::pending().await
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
