//! Many gateways on one control plane: what a slow one costs, and what an acknowledgement does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::*;
use crate::store::Purpose;

const CHANGES: u64 = 4_000;

/// Memory of this process that is in RAM, in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

/// Says that a gateway lives, as long as it does.
fn heartbeats(gateway: &Gateway) {
    let up = gateway.up.clone();
    tokio::spawn(async move {
        let frame = up::Frame::Heartbeat(wire::GatewayHeartbeat::default());
        let heartbeat = GatewayFrame { frame: Some(frame) };
        while up.send(heartbeat.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// Changes of sixteen kilobytes each, many in one transaction.
async fn commit_many(plane: &Plane, many: u64) {
    let long = AccountRecord {
        tier: "x".repeat(16 * 1024),
        ..account()
    };
    let mut tx = plane.store.begin(Purpose::Change).await.unwrap();
    let mut revision = 0;
    for _ in 0..many {
        let records = [Record::Account(long.clone())];
        revision = changes::append(&mut tx, now(), &records).await.unwrap();
    }
    tx.commit().await.unwrap();
    plane.gateways.announce(revision);
}

/// Opens a stream over a connection whose window for all streams is closed after a few kilobytes, and never reads.
async fn stuck(plane: &Plane, id: &str) -> Gateway {
    let endpoint = Endpoint::from_shared(format!("http://{}", plane.address)).unwrap();
    let channel = endpoint
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let gateway = Gateway::open(channel, plane.hello(id, 1), TOKEN).await.unwrap();
    heartbeats(&gateway);
    gateway
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_reads_nothing_delays_no_other_and_costs_a_bounded_memory() {
    let plane = Plane::start().await;
    plane.commit().await;
    let mut stuck_ones = Vec::new();
    for number in 0..5 {
        stuck_ones.push(stuck(&plane, &format!("stuck-{number}")).await);
    }
    let reached: Arc<Vec<AtomicU64>> = Arc::new((0..50).map(|_| AtomicU64::new(1)).collect());
    for number in 0..50 {
        let mut gateway = plane.join(plane.hello(&format!("g{number}"), 1)).await.unwrap();
        heartbeats(&gateway);
        let reached = Arc::clone(&reached);
        tokio::spawn(async move {
            loop {
                let change = gateway.next_change().await;
                let before = reached[number].swap(change.revision, Ordering::Relaxed);
                assert_eq!(change.revision, before + 1);
            }
        });
    }
    let all_have = |revision: u64| {
        let reached = Arc::clone(&reached);
        move || {
            reached
                .iter()
                .all(|held| held.load(Ordering::Relaxed) >= revision)
        }
    };
    let before = resident();
    let mut most = before;
    let began = Instant::now();
    let mut committed = 1;
    while committed < CHANGES {
        commit_many(&plane, 500).await;
        committed += 500;
        let have = all_have(committed);
        while !have() {
            assert!(began.elapsed() < Duration::from_secs(240), "somebody waits");
            tokio::time::sleep(Duration::from_millis(5)).await;
            most = most.max(resident());
        }
    }
    // The tail is 32 MiB; each stream may have a megabyte waiting, and what the connection holds. All together passed
    // over three gigabytes.
    let grown = most - before;
    println!(
        "{CHANGES} changes to 50 gateways in {:?}: {before} MiB and {grown} more",
        began.elapsed()
    );
    assert!(grown < 300, "{grown} MiB more than {before}");
    // One change more is with all of them at once.
    let began = Instant::now();
    let have = all_have(plane.commit().await);
    eventually("all have it", async || have()).await;
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn of_two_hundred_acknowledgements_the_last_one_ends_the_wait() {
    let gateways = Gateways::new(Duration::from_secs(20));
    let members: Vec<_> = (0..200)
        .map(|number| {
            let hello = Hello {
                gateway_id: format!("g{number}"),
                boot_epoch: 1,
                ..Hello::default()
            };
            gateways.join(&hello, 1).unwrap()
        })
        .collect();
    let waiting = tokio::spawn({
        let gateways = gateways.clone();
        async move { gateways.acknowledged(2).await }
    });
    for member in &members[1..] {
        member.acknowledge(2);
    }
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    members[0].acknowledge(2);
    assert_eq!(waiting.await.unwrap().to_string(), "complete; gateways=200");
    // Who is awaited and leaves by itself, or comes late, is noticed too.
    let waiting = tokio::spawn({
        let gateways = gateways.clone();
        async move { gateways.acknowledged(3).await }
    });
    for member in &members[1..] {
        member.acknowledge(3);
    }
    members[0].goodbye();
    assert_eq!(waiting.await.unwrap().to_string(), "complete; gateways=199");
}
