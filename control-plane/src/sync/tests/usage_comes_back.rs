//! Usage reports and what gateways are told of quotas.

use super::*;

fn counter(account: AccountId, accepted: u64) -> UsageCounter {
    UsageCounter {
        account_id: account.as_uuid().as_bytes().to_vec(),
        environment: wire::Environment::Production.into(),
        route: "/".into(),
        hour: now().hour(),
        accepted,
        ..UsageCounter::default()
    }
}

fn report(sequence: u64, counters: Vec<UsageCounter>) -> up::Frame {
    up::Frame::Usage(wire::UsageReport { sequence, counters })
}

async fn spent(plane: &Plane, account: AccountId) -> u64 {
    let period = QuotaPeriod::at(now(), None);
    usage::spent_in(&plane.store, account, period).await.unwrap()
}

impl Gateway {
    /// Takes frames until usage was acknowledged; keeps what is said of quotas.
    async fn acknowledged_usage(&mut self, quotas: &mut Vec<QuotaUsage>) -> u64 {
        loop {
            match self.next().await.unwrap() {
                Frame::UsageAcknowledged(acknowledged) => return acknowledged.sequence,
                Frame::QuotaUsage(usage) => quotas.push(usage),
                _ => {}
            }
        }
    }

    /// Takes frames until an account's quota is told so.
    async fn told(&mut self, account: AccountId, used_elsewhere: u64) -> QuotaUsage {
        loop {
            if let Frame::QuotaUsage(usage) = self.next().await.unwrap()
                && usage.account_id == account.as_uuid().as_bytes()
                && usage.used_elsewhere == used_elsewhere
            {
                return usage;
            }
        }
    }
}

#[tokio::test]
async fn a_report_is_acknowledged_once_it_is_durable_and_counts_once() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    let mut quotas = Vec::new();
    for sequence in 1..=3 {
        gateway.say(report(sequence, vec![counter(account.id, 5)])).await;
        assert_eq!(gateway.acknowledged_usage(&mut quotas).await, sequence);
        assert_eq!(spent(&plane, account.id).await, 5);
    }
    // Nobody else spent anything.
    assert!(quotas.iter().all(|usage| usage.used_elsewhere == 0));
}

#[tokio::test]
async fn a_counter_that_cannot_be_true_is_refused_alone() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    let wrong = UsageCounter {
        accepted: u64::MAX,
        ..counter(account.id, 0)
    };
    gateway.say(report(1, vec![wrong, counter(account.id, 2)])).await;
    assert_eq!(gateway.acknowledged_usage(&mut Vec::new()).await, 1);
    assert_eq!(spent(&plane, account.id).await, 2);
}

#[tokio::test]
async fn each_gateway_is_told_what_all_others_spent() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut a = plane.join(plane.hello("a", 1)).await.unwrap();
    let mut b = plane.join(plane.hello("b", 1)).await.unwrap();
    a.say(report(1, vec![counter(account.id, 5)])).await;
    b.told(account.id, 5).await;
    b.say(report(1, vec![counter(account.id, 11)])).await;
    a.told(account.id, 11).await;
    // A gateway that has restarted no longer counts what its earlier boot counted.
    drop(a);
    let restarted = Hello {
        boot_epoch: 8,
        ..plane.hello("a", 1)
    };
    let mut again = None;
    eventually("a is back", async || {
        again = plane.join(restarted.clone()).await.ok();
        again.is_some()
    })
    .await;
    again.unwrap().told(account.id, 16).await;
    // A gateway whose stream broke does.
    drop(b);
    let mut again = None;
    eventually("b is back", async || {
        again = plane.join(plane.hello("b", 1)).await.ok();
        again.is_some()
    })
    .await;
    again.unwrap().told(account.id, 5).await;
}

#[tokio::test]
async fn what_was_spent_before_a_restart_is_told_after_it() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut a = plane.join(plane.hello("a", 1)).await.unwrap();
    a.say(report(1, vec![counter(account.id, 5)])).await;
    a.acknowledged_usage(&mut Vec::new()).await;
    plane.shutdown.cancel();
    let secrets = secrets(&plane.folder);
    let (gateways, shutdown) = (Gateways::new(Duration::ZERO), CancellationToken::new());
    let any_port = "127.0.0.1:0".parse().unwrap();
    let (address, _handle) = serve(plane.store.clone(), gateways, secrets, any_port, shutdown.clone())
        .await
        .unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut b = Gateway::open(channel, plane.hello("b", 1), TOKEN).await.unwrap();
    b.told(account.id, 5).await;
    shutdown.cancel();
}

#[tokio::test]
async fn a_gateway_that_was_silent_for_long_is_named_again_when_it_comes_back() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut a = plane.join(plane.hello("a", 1)).await.unwrap();
    a.say(report(1, vec![counter(account.id, 5)])).await;
    a.acknowledged_usage(&mut Vec::new()).await;
    let heard = "SELECT heard_at FROM usage_gateways WHERE heard_at > 0";
    eventually("it is written down that a was heard", async || {
        let row = sqlx::query(heard).fetch_optional(plane.store.readers()).await;
        row.unwrap().is_some()
    })
    .await;
    plane.shutdown.cancel();
    let mut tx = plane.store.begin(crate::store::Purpose::Other).await.unwrap();
    sqlx::query("UPDATE usage_gateways SET heard_at = 0")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let secrets = secrets(&plane.folder);
    let (gateways, shutdown) = (Gateways::new(Duration::ZERO), CancellationToken::new());
    let any_port = "127.0.0.1:0".parse().unwrap();
    let (address, _handle) = serve(plane.store.clone(), gateways, secrets, any_port, shutdown.clone())
        .await
        .unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut b = Gateway::open(channel.clone(), plane.hello("b", 1), TOKEN)
        .await
        .unwrap();
    let usage = b.told(account.id, 5).await;
    assert_eq!((usage.gateways, usage.used_by_others), (vec![], 5));
    let next = Hello {
        boot_epoch: 8,
        ..plane.hello("a", 1)
    };
    let mut a = Gateway::open(channel, next, TOKEN).await.unwrap();
    let usage = a.told(account.id, 5).await;
    assert_eq!((usage.used_here_before, usage.used_by_others), (5, 0));
    let usage = b.told(account.id, 5).await;
    let named = wire::GatewayUsage {
        gateway_id: "a".into(),
        used: 5,
    };
    assert_eq!((usage.gateways, usage.used_by_others), (vec![named], 0));
    shutdown.cancel();
}

#[tokio::test]
async fn a_moved_contract_start_moves_what_counts() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let a = plane.join(plane.hello("a", 1)).await.unwrap();
    let mut b = plane.join(plane.hello("b", 1)).await.unwrap();
    let two_days_ago = UsageCounter {
        hour: now().hour() - 48,
        ..counter(account.id, 100)
    };
    a.say(report(1, vec![counter(account.id, 5), two_days_ago])).await;
    // The calendar year may have begun yesterday.
    b.told(account.id, spent_at_start(&plane, account.id).await).await;

    let start = UnixMillis(now().0 - now().0.rem_euclid(86_400_000) - 86_400_000);
    let moved = AccountRecord {
        contract: Contract {
            start: Some(start),
            end: None,
        },
        ..account.clone()
    };
    let mut tx = plane.store.begin(crate::store::Purpose::Change).await.unwrap();
    sqlx::query("UPDATE accounts SET contract_start = $1 WHERE id = $2")
        .bind(start.0)
        .bind(account.id.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    let revision = changes::append(&mut tx, now(), &[Record::Account(moved)])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    plane.gateways.announce(revision);
    b.told(account.id, 5).await;
}

async fn spent_at_start(plane: &Plane, account: AccountId) -> u64 {
    let mut sum = 0;
    eventually("the report was merged", async || {
        sum = spent(plane, account).await;
        sum > 0
    })
    .await;
    sum
}

#[tokio::test]
async fn many_gateways_reports_all_count() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut gateways = HashMap::new();
    for at in 0..20 {
        let id = format!("g{at}");
        gateways.insert(id.clone(), plane.join(plane.hello(&id, 1)).await.unwrap());
    }
    for gateway in gateways.values() {
        gateway.say(report(1, vec![counter(account.id, 3)])).await;
    }
    for (id, gateway) in &mut gateways {
        // The last number may come before the acknowledgement.
        let mut told = Vec::new();
        gateway.acknowledged_usage(&mut told).await;
        if told.last().is_none_or(|usage| usage.used_elsewhere != 57) {
            told.push(gateway.told(account.id, 57).await);
        }
        let usage = told.last().unwrap();
        let mut named: Vec<_> = usage
            .gateways
            .iter()
            .map(|by| (by.gateway_id.clone(), by.used))
            .collect();
        named.sort();
        let others = (0..20).map(|at| format!("g{at}")).filter(|other| other != id);
        let mut others: Vec<_> = others.map(|other| (other, 3)).collect();
        others.sort();
        assert_eq!(named, others);
    }
    assert_eq!(spent(&plane, account.id).await, 60);
}

/// Numbers once went out with heartbeats, one a second: what others spent was known too late.
#[tokio::test]
async fn what_is_merged_is_told_without_waiting_for_a_heartbeat() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let a = plane.join(plane.hello("a", 1)).await.unwrap();
    let mut b = plane.join(plane.hello("b", 1)).await.unwrap();
    let mut at_once = 0;
    for sequence in 1..=5 {
        a.say(report(sequence, vec![counter(account.id, sequence * 10)]))
            .await;
        let mut heartbeats = 0;
        loop {
            let frame = b.down.message().await.unwrap().unwrap().frame.unwrap();
            match frame {
                Frame::Heartbeat(_) => heartbeats += 1,
                Frame::QuotaUsage(usage) if usage.used_elsewhere == sequence * 10 => break,
                _ => {}
            }
        }
        at_once += u32::from(heartbeats == 0);
    }
    assert!(at_once > 0);
}

#[tokio::test]
async fn a_gateway_is_told_in_parts_what_its_earlier_starts_and_each_other_gateway_counted() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut a = plane.join(plane.hello("a", 1)).await.unwrap();
    let mut b = plane.join(plane.hello("b", 1)).await.unwrap();
    a.say(report(1, vec![counter(account.id, 5)])).await;
    a.acknowledged_usage(&mut Vec::new()).await;
    b.say(report(1, vec![counter(account.id, 11)])).await;
    b.acknowledged_usage(&mut Vec::new()).await;
    drop(a);
    let restarted = Hello {
        boot_epoch: 8,
        ..plane.hello("a", 1)
    };
    let mut again = None;
    eventually("a is back", async || {
        again = plane.join(restarted.clone()).await.ok();
        again.is_some()
    })
    .await;
    let mut a = again.unwrap();
    // What its earlier start counted and is reported only now.
    let late = UsageCounter {
        boot_epoch: 7,
        ..counter(account.id, 6)
    };
    let own = UsageCounter {
        boot_epoch: 8,
        ..counter(account.id, 100)
    };
    a.say(report(1, vec![late, own])).await;
    let usage = a.told(account.id, 17).await;
    assert_eq!((usage.used_here_before, usage.used_by_others), (6, 0));
    let named = wire::GatewayUsage {
        gateway_id: "b".into(),
        used: 11,
    };
    assert_eq!(usage.gateways, [named]);
    let usage = b.told(account.id, 106).await;
    assert_eq!((usage.used_here_before, usage.used_by_others), (0, 0));
    let named = wire::GatewayUsage {
        gateway_id: "a".into(),
        used: 106,
    };
    assert_eq!(usage.gateways, [named]);
}

/// What a gateway said of its starts, and the short rows that are left of them.
async fn settled(plane: &Plane) -> (i64, i64) {
    let before: Option<(i64,)> =
        sqlx::query_as("SELECT settled_before FROM usage_gateways WHERE gateway_id = 'a'")
            .fetch_optional(plane.store.readers())
            .await
            .unwrap();
    let (rows,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM usage_counters")
        .fetch_one(plane.store.readers())
        .await
        .unwrap();
    (before.map_or(-1, |(before,)| before), rows)
}

#[tokio::test]
async fn what_a_gateway_says_of_its_starts_settles_the_earlier_ones() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let hello = Hello {
        oldest_boot_epoch: 5,
        ..plane.hello("a", 1)
    };
    let mut gateway = plane.join(hello).await.unwrap();
    eventually("the Hello is noted", async || settled(&plane).await.0 == 5).await;
    // Of start 5 and 6 something is still to be reported; 4 was all said before.
    let under = |boot_epoch, accepted| UsageCounter {
        boot_epoch,
        ..counter(account.id, accepted)
    };
    let counters = vec![under(4, 100), under(5, 10), under(6, 20), under(0, 1)];
    gateway.say(report(1, counters.clone())).await;
    assert_eq!(gateway.acknowledged_usage(&mut Vec::new()).await, 1);
    assert_eq!(spent(&plane, account.id).await, 31);

    let heartbeat = wire::GatewayHeartbeat {
        oldest_boot_epoch: 7,
        steady_ms: 1,
        ..wire::GatewayHeartbeat::default()
    };
    gateway.say(up::Frame::Heartbeat(heartbeat)).await;
    eventually("the heartbeat is noted", async || settled(&plane).await.0 == 7).await;
    while usage::fold(&plane.store).await.unwrap() {}
    // What is left: the start that lives, and all others together.
    assert_eq!(settled(&plane).await, (7, 2));
    gateway.say(report(2, counters)).await;
    assert_eq!(gateway.acknowledged_usage(&mut Vec::new()).await, 2);
    gateway.say(report(3, vec![under(0, 2)])).await;
    assert_eq!(gateway.acknowledged_usage(&mut Vec::new()).await, 3);
    assert_eq!(spent(&plane, account.id).await, 32);
}

#[tokio::test]
async fn a_gateway_that_says_nothing_of_its_starts_settles_none() {
    let plane = Plane::start().await;
    let (account, _) = plane.add_account(0).await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    eventually("the Hello is noted", async || settled(&plane).await.0 == 0).await;
    let earlier = UsageCounter {
        boot_epoch: 6,
        ..counter(account.id, 5)
    };
    gateway
        .say(report(1, vec![earlier, counter(account.id, 1)]))
        .await;
    gateway.acknowledged_usage(&mut Vec::new()).await;
    assert!(!usage::fold(&plane.store).await.unwrap());
    assert_eq!(settled(&plane).await, (0, 2));
}

#[tokio::test]
async fn the_last_use_of_a_key_is_known_once_its_report_is_acknowledged_and_never_goes_back() {
    let plane = Plane::start().await;
    let (account, keys) = plane.add_account(1).await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    let used_at = |at: i64, accepted| UsageCounter {
        account_key_id: keys[0].id.as_uuid().as_bytes().to_vec(),
        last_accepted_at_ms: at,
        ..counter(account.id, accepted)
    };
    let last = async || {
        let last = usage::last_used(&plane.store, &[keys[0].id]).await.unwrap();
        last.get(&keys[0].id).map(|at| at.0)
    };
    let at = now().0;
    gateway.say(report(1, vec![used_at(at, 1)])).await;
    gateway.acknowledged_usage(&mut Vec::new()).await;
    assert_eq!(last().await, Some(at));
    // Of an hour before, which comes only now; and of one whose clock was behind.
    let late = UsageCounter {
        hour: now().hour() - 1,
        ..used_at(at - 3_600_000, 7)
    };
    gateway.say(report(2, vec![late, used_at(at - 5, 2)])).await;
    gateway.acknowledged_usage(&mut Vec::new()).await;
    assert_eq!(last().await, Some(at));
    gateway.say(report(3, vec![used_at(at + 1, 3)])).await;
    gateway.acknowledged_usage(&mut Vec::new()).await;
    assert_eq!(last().await, Some(at + 1));
}
