//! Snapshots, changes, resuming and acknowledging.

use super::*;

#[tokio::test]
async fn an_empty_gateway_gets_a_snapshot_and_then_every_change() {
    let plane = Plane::start().await;
    let (account, keys) = plane.add_account(2_500).await;
    let mut gateway = plane.join(plane.hello("a", 0)).await.unwrap();
    assert_eq!(gateway.welcome.feed_epoch, plane.epoch);
    let (revision, records) = gateway.snapshot().await;
    assert_eq!(revision, 1);
    let records: Vec<Record> = records
        .into_iter()
        .map(|record| record.try_into().unwrap())
        .collect();
    assert_eq!(records.len(), 2_501);
    assert_eq!(records[0], Record::Account(account));
    assert!(
        records[1..]
            .iter()
            .zip(&keys)
            .all(|(record, key)| *record == Record::Key(key.clone()))
    );
    for _ in 0..3 {
        let revision = plane.commit().await;
        assert_eq!(gateway.next_change().await.revision, revision);
    }
}

#[tokio::test]
async fn a_gateway_resumes_after_the_revision_that_it_holds() {
    let plane = Plane::start().await;
    for _ in 0..5 {
        plane.commit().await;
    }
    let mut gateway = plane.join(plane.hello("a", 3)).await.unwrap();
    assert_eq!(gateway.next_change().await.revision, 4);
    assert_eq!(gateway.next_change().await.revision, 5);
    // At the head there is nothing to send, and no snapshot either.
    let mut current = plane.join(plane.hello("b", 5)).await.unwrap();
    assert_eq!(plane.commit().await, 6);
    assert_eq!(current.next_change().await.revision, 6);
}

#[tokio::test]
async fn no_change_is_missing_or_doubled_while_many_are_committed() {
    let plane = Plane::start().await;
    plane.commit().await;
    let mut resuming = plane.join(plane.hello("a", 1)).await.unwrap();
    let mut fresh = plane.join(plane.hello("b", 0)).await.unwrap();
    let (start, _) = fresh.snapshot().await;
    let committing = async {
        for _ in 0..300 {
            plane.commit().await;
        }
    };
    let following = async {
        for expected in 2..=301 {
            assert_eq!(resuming.next_change().await.revision, expected);
        }
        for expected in start + 1..=301 {
            assert_eq!(fresh.next_change().await.revision, expected);
        }
    };
    tokio::join!(committing, following);
}

#[tokio::test]
async fn a_change_that_nobody_announced_arrives_all_the_same() {
    let plane = Plane::start().await;
    let mut gateway = plane.join(plane.hello("a", 0)).await.unwrap();
    gateway.snapshot().await;
    let revision = plane.commit_silently().await;
    assert_eq!(gateway.next_change().await.revision, revision);
}

#[tokio::test]
async fn another_history_or_a_revision_from_the_future_means_a_snapshot() {
    let plane = Plane::start().await;
    plane.commit().await;
    let foreign = Hello {
        feed_epoch: "another".into(),
        ..plane.hello("a", 1)
    };
    for hello in [foreign, plane.hello("b", 99)] {
        let mut gateway = plane.join(hello).await.unwrap();
        assert_eq!(gateway.snapshot().await.0, 1);
    }
    // Neither holds anything of ours before it says so.
    assert!(
        plane
            .gateways
            .status()
            .iter()
            .all(|gateway| gateway.revision == 0)
    );
}

/// A place of which no more is known.
fn at(revision: u64) -> changes::Place {
    changes::Place {
        revision,
        history: None,
    }
}

#[tokio::test]
async fn a_compacted_log_means_a_snapshot() {
    let plane = Plane::start().await;
    for _ in 0..10 {
        plane.commit_silently().await;
    }
    let keep = changes::Keep {
        newest: 4,
        longest_ms: i64::MAX,
        shortest_ms: 0,
        after: u64::MAX,
    };
    changes::compact(&plane.store, keep, now(), 100).await.unwrap();
    eventually("the feed has read the log", async || {
        // From the oldest that is left it still goes on by changes.
        let mut gateway = plane.join(plane.hello("probe", 9)).await.unwrap();
        matches!(gateway.next().await, Ok(Frame::Change(change)) if change.revision == 10)
    })
    .await;
    // Another control plane starts on this log: its memory holds nothing of it.
    let gateways = Gateways::new(Duration::ZERO);
    let feed = feed::Feed::start(&plane.store, &gateways, Arc::default())
        .await
        .unwrap();
    assert!(matches!(feed.after(at(3)).await, Ok(feed::Next::Snapshot)));
    assert!(matches!(feed.after(at(6)).await, Ok(feed::Next::Changes(changes)) if changes.len() == 4));
    assert!(matches!(feed.after(at(10)).await, Ok(feed::Next::Nothing)));
}

#[tokio::test]
async fn a_change_is_complete_when_all_gateways_have_acknowledged_it() {
    let plane = Plane::start().await;
    let mut a = plane.join(plane.hello("a", 0)).await.unwrap();
    let mut b = plane.join(plane.hello("b", 0)).await.unwrap();
    for gateway in [&mut a, &mut b] {
        let (revision, _) = gateway.snapshot().await;
        gateway.acknowledge(revision).await;
    }
    let revision = plane.commit().await;
    let waiting = plane.gateways.acknowledged(revision);
    let following = async {
        for gateway in [&mut a, &mut b] {
            let revision = gateway.next_change().await.revision;
            gateway.acknowledge(revision).await;
        }
    };
    let (propagation, ()) = tokio::join!(waiting, following);
    assert_eq!(propagation.to_string(), "complete; gateways=2");
    let status = plane.gateways.status();
    let seen: Vec<_> = status
        .iter()
        .map(|gateway| (gateway.gateway_id.as_str(), gateway.revision, gateway.state))
        .collect();
    assert_eq!(seen, [("a", revision, "connected"), ("b", revision, "connected")]);
    assert_eq!(
        (status[0].address.as_str(), status[0].version.as_str()),
        ("192.0.2.1:8080", "1.2.3")
    );
}

#[tokio::test]
async fn a_change_is_partial_when_a_gateway_says_nothing_in_time() {
    let plane = Plane::start_with_wait(Duration::from_millis(200)).await;
    let mut a = plane.join(plane.hello("a", 0)).await.unwrap();
    let _b = plane.join(plane.hello("b", 0)).await.unwrap();
    a.snapshot().await;
    let revision = plane.commit().await;
    let revision_seen = a.next_change().await.revision;
    a.acknowledge(revision_seen).await;
    let propagation = plane.gateways.acknowledged(revision).await;
    assert_eq!(propagation.to_string(), "partial; gateways=1; missing=b");
}

#[tokio::test]
async fn a_refused_record_is_told_to_who_waits() {
    let plane = Plane::start().await;
    let mut a = plane.join(plane.hello("a", 0)).await.unwrap();
    a.snapshot().await;
    let revision = plane.commit().await;
    a.next_change().await;
    let refusal = wire::Refusal {
        revision,
        record: "key 1".into(),
        reason: "digest is not 32 bytes\n".into(),
    };
    a.say(up::Frame::Refusal(refusal)).await;
    a.acknowledge(revision).await;
    let propagation = plane.gateways.acknowledged(revision).await;
    assert_eq!(propagation.to_string(), "partial; gateways=0; missing=a");
}

#[tokio::test]
async fn a_gateway_that_reads_nothing_delays_no_other() {
    let plane = Plane::start().await;
    plane.add_account(3_000).await;
    // It never reads a frame: its snapshot stays in the pipe.
    let mut stuck = Vec::new();
    for id in ["s1", "s2"] {
        stuck.push(plane.join(plane.hello(id, 0)).await.unwrap());
    }
    let mut quick = plane.join(plane.hello("quick", 1)).await.unwrap();
    for _ in 0..50 {
        let began = std::time::Instant::now();
        let revision = plane.commit().await;
        assert_eq!(quick.next_change().await.revision, revision);
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
