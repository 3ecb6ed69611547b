//! One control plane with many gateways: what changes cost it, how soon they are everywhere, that one which is stuck
//! delays nobody, and how all of them come back when it starts again.
//!
//! The gateways are [`light`](super::light) ones in the benchmark's own process, which shares the two cores with the
//! control plane. Changes are calls of an operator that disable keys and enable them again, each answered when it is in
//! force everywhere.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keyward_harness::{Process, ProcessUsage, eventually};
use keyward_loadtest::paced::{Heard, latencies};
use keyward_loadtest::{Lane, Order, Pace, Paced, Requests};
use reqwest::Method;
use serde_json::json;

use super::figures::{Figure, Part, mebibytes, ms};
use super::light::{Fleet, Manner};
use super::rest::{By, Rest};
use super::system::System;

/// The default: a stuck gateway holds up answers for no longer.
const WAIT: Duration = Duration::from_secs(1);
const KEYS: usize = 200;
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(128).unwrap();
const WARM_UP: Duration = Duration::from_secs(2);
const ALL_UP_WITHIN: Duration = Duration::from_secs(120);
const GOAL: Duration = Duration::from_millis(250);
const BACK_GOAL: Duration = Duration::from_secs(10);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Gateways.
    pub gateways: usize,
    /// Changes a second.
    pub changes: u32,
    /// For how long.
    pub lasts: Duration,
}

/// What some time cost.
struct Spent {
    control_plane: f64,
    gateways: f64,
    resident: u64,
    peak: u64,
}

/// On the database at this address, by default a file.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn measure(plan: Plan, name: &str, database: Option<&str>) -> anyhow::Result<Part> {
    let Plan {
        gateways,
        changes,
        lasts,
    } = plan;
    let mut part = Part::new(
        format!("{gateways} gateways of one control plane on {name}"),
        format!("{changes} changes/s for {} s; nothing pinned", lasts.as_secs()),
    );
    let mut system = System::start(database, WAIT).await?;
    let requests = Arc::new(changing_calls(&system.rest).await?);
    let before = system.control_plane.process().usage()?;
    part.add(Figure::told(
        "control plane: resident without gateways",
        mebibytes(before.resident_bytes),
    ));
    let mut fleet = Fleet::of(
        system.control_plane.sync_url(),
        &system.control_plane.token_file(),
    )?;
    fleet.start(gateways, Manner::Follows);
    all_up(&fleet, gateways).await?;
    round(&mut part, "", (&system, &fleet), (plan, &requests)).await?;
    fleet.start(1, Manner::Stuck);
    all_up(&fleet, gateways + 1).await?;
    round(
        &mut part,
        "with one stuck: ",
        (&system, &fleet),
        (plan, &requests),
    )
    .await?;
    part.add(Figure::told(
        "times that the control plane ended the stuck one's stream",
        fleet.noted.dropped.load(Ordering::Relaxed).to_string(),
    ));
    come_back(&mut part, &mut system, &fleet, gateways).await?;
    part.add(Figure::never(
        "changes that a gateway got without the one before",
        fleet.noted.skipped.load(Ordering::Relaxed),
    ));
    Ok(part)
}

/// Calls that disable each of many keys, then calls that enable them again.
async fn changing_calls(rest: &Rest) -> anyhow::Result<Requests> {
    let account = rest.account().await?;
    let path = format!("/admin/customers/{}/api-keys", account.id);
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        let made = rest.call(By::Operator, Method::POST, &path, json!({})).await?;
        keys.push(made.text("/api_key_id")?);
    }
    let calls = ["disabled", "active"].into_iter().flat_map(|status| {
        let body = json!({"status": status}).to_string();
        keys.iter().map(move |key| (key, body.clone()))
    });
    let calls = calls.map(|(key, body)| {
        format!(
            "PATCH {path}/{key} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            rest.operator(),
            body.len()
        )
    });
    Ok(Requests::of(calls, Order::EachOnce))
}

async fn all_up(fleet: &Fleet, count: usize) -> anyhow::Result<()> {
    eventually(ALL_UP_WITHIN, || async {
        let up = fleet.noted.up.load(Ordering::Relaxed);
        anyhow::ensure!(up >= count, "only {up} streams are up");
        Ok(())
    })
    .await
}

/// Changes for some time, and what came of them.
async fn round(
    part: &mut Part,
    when: &str,
    (system, fleet): (&System, &Fleet),
    (plan, requests): (Plan, &Arc<Requests>),
) -> anyhow::Result<()> {
    let load = Paced {
        lanes: vec![Lane {
            target: system
                .control_plane
                .api_url()
                .trim_start_matches("http://")
                .parse()?,
            pace: Pace::steady(plan.changes),
            connections: CONNECTIONS,
        }],
        callers: Arc::clone(requests),
        duration: WARM_UP + plan.lasts,
    };
    let load = load.start().await?;
    load.reached(WARM_UP).await;
    drop(fleet.noted.take_under_way());
    let before = (
        system.control_plane.process().usage()?,
        own_usage()?,
        Instant::now(),
    );
    load.reached(WARM_UP + plan.lasts).await;
    let spent = spent(system.control_plane.process(), &before)?;
    // What is late by now is not sent any more: a machine that is too slow says so by the number of changes.
    let heard = load.stop().await?;
    tell(part, when, &heard, &spent);
    let under_way = fleet.noted.take_under_way();
    let (median, p99) = (under_way.quantile(0.5), under_way.quantile(0.99));
    part.add(Figure::told(
        format!("{when}change to gateway: arrivals, p50"),
        format!("{}, {}", under_way.len(), ms(median)),
    ));
    part.add(Figure::within(format!("{when}change to gateway, p99"), p99, GOAL));
    Ok(())
}

fn tell(part: &mut Part, when: &str, heard: &Heard, spent: &Spent) {
    let changes = heard.due(WARM_UP, Duration::MAX);
    let refused = heard.count(|call| !call.accepted());
    let took = latencies(changes);
    part.add(Figure::told(
        format!("{when}changes that were made"),
        heard.calls.len().to_string(),
    ));
    part.add(Figure::never(
        format!("{when}changes that were not answered with 200"),
        refused,
    ));
    part.add(Figure::told(
        format!("{when}control plane: processors; resident; at most"),
        format!(
            "{:.2}, {}, {}",
            spent.control_plane,
            mebibytes(spent.resident),
            mebibytes(spent.peak)
        ),
    ));
    part.add(Figure::told(
        format!("{when}processors of the {} gateways and the calls", "simulated"),
        format!("{:.2}", spent.gateways),
    ));
    part.add(Figure::told(
        format!("{when}the whole call, answered when all had it, p50"),
        ms(took.quantile(0.5)),
    ));
    let p99 = took.quantile(0.99);
    part.add(match when {
        "" => Figure::within("the whole call, p99", p99, GOAL),
        _ => Figure::told(format!("{when}the whole call, p99"), ms(p99)),
    });
}

fn own_usage() -> anyhow::Result<ProcessUsage> {
    ProcessUsage::of(std::process::id())
}

fn spent(
    control_plane: &Process,
    (before, own_before, began): &(ProcessUsage, ProcessUsage, Instant),
) -> anyhow::Result<Spent> {
    let (after, own) = (control_plane.usage()?, own_usage()?);
    let elapsed = began.elapsed().as_secs_f64();
    let share = |after: &ProcessUsage, before: &ProcessUsage| {
        after
            .processor_time()
            .saturating_sub(before.processor_time())
            .as_secs_f64()
            / elapsed
    };
    Ok(Spent {
        control_plane: share(&after, before),
        gateways: share(&own, own_before),
        resident: after.resident_bytes,
        peak: after.peak_resident_bytes,
    })
}

/// The control plane is killed and started again.
async fn come_back(
    part: &mut Part,
    system: &mut System,
    fleet: &Fleet,
    gateways: usize,
) -> anyhow::Result<()> {
    system.control_plane.kill();
    eventually(ALL_UP_WITHIN, || async {
        let up = fleet.noted.up.load(Ordering::Relaxed);
        anyhow::ensure!(up == 0, "{up} streams are still up");
        Ok(())
    })
    .await?;
    // Away for long enough that pauses have grown.
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(fleet.noted.take_attempts());
    system.control_plane.restart().await?;
    let began = Instant::now();
    all_up(fleet, gateways).await?;
    let took = began.elapsed();
    let attempts = fleet.noted.take_attempts();
    part.add(Figure::within(
        "killed, started again 5 s later: all streams are up after",
        took,
        BACK_GOAL,
    ));
    part.add(Figure::told(
        "connects meanwhile; at most within 100 ms and within 1 s",
        format!(
            "{}; {}, {}",
            attempts.len(),
            most_within(&attempts, Duration::from_millis(100)),
            most_within(&attempts, Duration::from_secs(1))
        ),
    ));
    Ok(())
}

/// How many of these instants lie within any stretch of time of this length.
fn most_within(instants: &[Instant], stretch: Duration) -> usize {
    let mut sorted = instants.to_vec();
    sorted.sort_unstable();
    let from = |first: &Instant| {
        sorted
            .iter()
            .filter(|at| (*first..*first + stretch).contains(*at))
            .count()
    };
    sorted.iter().map(from).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_densest_stretch_is_found() {
        let began = Instant::now();
        let at = [0, 40, 50, 60, 139, 140, 300].map(|ms| began + Duration::from_millis(ms));
        assert_eq!(most_within(&at, Duration::from_millis(100)), 4);
        assert_eq!(most_within(&[], Duration::from_millis(100)), 0);
    }
}
