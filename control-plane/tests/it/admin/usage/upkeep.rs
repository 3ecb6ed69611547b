//! What the control plane does by itself so that usage doesn't grow without bound.

use std::time::Duration;

use keyward_control_plane::store::usage::{self, Starts};

use super::{callers, report};
use crate::plane::Plane;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn starts_that_are_over_are_folded_and_old_hours_and_days_deleted_by_themselves() {
    let plane = Plane::start().await;
    let callers = callers(&plane).await;
    let hour = plane.running.registry().clock.now().hour();
    for boot in 1..=3 {
        let mut counters = callers.counters(hour, boot);
        counters.iter_mut().for_each(|counter| counter.boot_epoch = boot);
        report(&plane, "edge-1", counters).await;
    }
    let shown = async || {
        let path = format!("/admin/usage/{}?granularity=month&fields=all", callers.company.id);
        let usage = plane.admin("GET", path).send().await.expect(200).json();
        let entries = usage["series"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["accepted"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(shown().await, 6 * 23);
    let starts = Starts {
        present: 4,
        oldest: 4,
    };
    let registry = plane.running.registry();
    usage::hear(&registry.store, "edge-1", starts, registry.clock.now())
        .await
        .unwrap();
    let counters = "SELECT COUNT(*) FROM usage_counters";
    plane.eventually(async || plane.number(counters).await == 3).await;
    assert_eq!(shown().await, 6 * 23);

    // Hours go after their time, then days, and months never.
    plane.advance(92 * DAY);
    plane.eventually(async || plane.number(counters).await == 0).await;
    let totals = "SELECT COUNT(*) FROM usage_totals WHERE unit = ";
    plane
        .eventually(async || plane.number(&format!("{totals} 1")).await == 0)
        .await;
    assert_eq!(plane.number(&format!("{totals} 2")).await, 2);
    plane.advance(1_010 * DAY);
    plane
        .eventually(async || plane.number(&format!("{totals} 2")).await == 0)
        .await;
    plane
        .eventually(async || plane.number("SELECT COUNT(*) FROM usage_boot_days").await == 0)
        .await;
    let sums = "SELECT COUNT(*) FROM usage_subject_sums WHERE unit = 2";
    plane.eventually(async || plane.number(sums).await == 0).await;
    assert_eq!(plane.number(&format!("{totals} 3")).await, 2);
    let path = format!(
        "/admin/usage/{}?granularity=month&from=2020-01-01",
        callers.company.id
    );
    let usage = plane.admin("GET", path).send().await.expect(200).json();
    let entries = usage["series"].as_array().unwrap().iter();
    let accepted: u64 = entries.map(|entry| entry["accepted"].as_u64().unwrap()).sum();
    assert_eq!(accepted, 6 * 23);
}
