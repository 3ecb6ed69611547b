//! Usage on its way out, and what others spent on its way in.

use super::*;

fn counter_key(account: AccountId) -> CounterKey {
    CounterKey {
        account,
        environment: keyward_contract::Environment::Production,
        customer: None,
        account_key: None,
        customer_key: None,
        route: 0,
        hour: wall_clock().hour(),
    }
}

async fn acknowledge(peer: &Peer, report: &feed::UsageReport) {
    let sequence = report.sequence;
    peer.say(down::Frame::UsageAcknowledged(feed::UsageAcknowledged {
        sequence,
    }))
    .await;
}

#[tokio::test]
async fn usage_is_reported_until_it_is_acknowledged() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let counter = gateway.book.counter(counter_key(AccountId::new()));
    counter.accepted(1);
    let (mut peer, _) = plane.welcome().await;
    let report = peer.usage().await;
    assert_eq!(
        (report.counters[0].accepted, report.counters[0].boot_epoch),
        (1, gateway.ledger.boot_epoch())
    );
    // The stream breaks before the answer.
    drop(peer);
    counter.accepted(2);
    let (mut peer, _) = plane.welcome().await;
    let report = peer.usage().await;
    assert_eq!((report.counters.len(), report.counters[0].accepted), (1, 2));
    acknowledge(&peer, &report).await;
    eventually("all is acknowledged", || gateway.ledger.pending() == 0).await;
    counter.accepted(3);
    assert_eq!(peer.usage().await.counters[0].accepted, 3);
}

#[tokio::test]
async fn many_counters_go_in_bounded_reports() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    for _ in 0..4_500 {
        gateway.book.counter(counter_key(AccountId::new())).accepted(1);
    }
    let (mut peer, _) = plane.welcome().await;
    for expected in [2_000, 2_000, 500] {
        let report = peer.usage().await;
        assert_eq!(report.counters.len(), expected);
        acknowledge(&peer, &report).await;
    }
    eventually("all is acknowledged", || gateway.ledger.pending() == 0).await;
}

#[tokio::test]
async fn stopping_reports_the_last_usage_and_says_goodbye() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = AccountId::new();
    gateway.book.counter(counter_key(account)).accepted(1);
    gateway.stop.cancel();
    let report = peer.usage().await;
    acknowledge(&peer, &report).await;
    // All that this start counted is taken: nothing of it will come again.
    let known_for_good = gateway.ledger.boot_epoch() + 1;
    while peer.heartbeat().await.oldest_boot_epoch != known_for_good {}
    assert!(matches!(peer.next().await, up::Frame::Goodbye(_)));
    drop(peer);
    in_time(gateway.running).await.unwrap();
    assert_eq!(gateway.ledger.pending(), 0);
}

#[tokio::test]
async fn stopping_ends_in_time_when_nobody_answers() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (_peer, _) = plane.welcome().await;
    gateway.book.counter(counter_key(AccountId::new())).accepted(1);
    let began = Instant::now();
    gateway.stopped().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn usage_that_is_only_here_is_worth_one_more_try_at_the_end() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    gateway.book.counter(counter_key(AccountId::new())).accepted(1);
    // The control plane is stopping, and so are we.
    let peer = plane.peer().await;
    peer.out.send(Err(Status::unavailable("stopping"))).await.unwrap();
    gateway.stop.cancel();
    let (mut peer, _) = plane.welcome().await;
    let report = peer.usage().await;
    acknowledge(&peer, &report).await;
    assert!(matches!(peer.next().await, up::Frame::Goodbye(_)));
    drop(peer);
    in_time(gateway.running).await.unwrap();
}

#[tokio::test]
async fn what_others_spent_reaches_the_accounts_quota_also_across_a_snapshot() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    let period = keyward_contract::QuotaPeriod::at(wall_clock(), None);
    // It comes before the snapshot has ended.
    let usage = feed::QuotaUsage {
        account_id: account.id.as_uuid().as_bytes().to_vec(),
        period_start_ms: period.start.0,
        used_elsewhere: 77,
        ..feed::QuotaUsage::default()
    };
    peer.say(down::Frame::QuotaUsage(usage)).await;
    peer.snapshot(
        5,
        vec![account_record(&account), key(&account, "k", KeyState::Active)],
    )
    .await;
    assert_eq!(peer.acknowledged().await, 5);
    let used = || match gateway.keys.find(b"k", &mut Recent::with_capacity(1)).0 {
        Lookup::Known(key) => {
            let cell = &key.entry().account;
            cell.quota().level(wall_clock(), &cell.policy().record).used
        }
        Lookup::Unknown | Lookup::Unavailable => 0,
    };
    eventually("the quota is heard", || used() == 77).await;
}
