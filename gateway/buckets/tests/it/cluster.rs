//! Three masters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyward_buckets::{Answer, Ask, BucketsError, LANES, LeaseAsk, Link};
use keyward_contract::{AccountId, Limits};
use keyward_harness::{RedisCluster, eventually};

use crate::{SOON, ask_lease, bucket, gateway, lease};

/// Accounts on each of the nodes.
fn accounts_by_node(cluster: &RedisCluster, count: usize) -> HashMap<usize, Vec<AccountId>> {
    let mut accounts: HashMap<usize, Vec<AccountId>> = HashMap::new();
    for _ in 0..count {
        let account = AccountId::new();
        let slot = cluster.slot_of(&bucket(account).key()).unwrap();
        accounts
            .entry(cluster.node_of(slot).unwrap())
            .or_default()
            .push(account);
    }
    accounts
}

#[tokio::test]
async fn each_account_is_asked_for_at_its_node_and_answered_in_order() {
    let cluster = RedisCluster::start().await.unwrap();
    let link = gateway(&cluster.url(), "one").connect().await.unwrap();
    let asks: Vec<Ask> = (1..=100)
        .map(|most| Ask::Lease(lease(AccountId::new(), most)))
        .collect();
    let answers = link.ask(&asks).await.unwrap();
    for (answer, most) in answers.iter().zip(1..) {
        assert!(
            matches!(answer, Answer::Lease(lease) if lease.granted == most * 1000),
            "{answer:?}"
        );
    }
    for node in cluster.nodes() {
        assert_ne!(node.command(&["DBSIZE"]).unwrap(), "0");
    }
    link.ping().await.unwrap();
}

#[tokio::test]
async fn an_accounts_lane_is_where_its_slot_is() {
    let cluster = RedisCluster::start().await.unwrap();
    let buckets = gateway(&cluster.url(), "one");
    for _ in 0..20 {
        let account = AccountId::new();
        let slot = usize::from(cluster.slot_of(&bucket(account).key()).unwrap());
        assert_eq!(buckets.lane(account), slot * LANES / 16_384);
    }
}

#[tokio::test]
async fn a_node_that_is_away_is_trouble_for_its_own_accounts_only_and_comes_back_by_itself() {
    let mut cluster = RedisCluster::start().await.unwrap();
    let link = gateway(&cluster.url(), "one").connect().await.unwrap();
    let accounts = accounts_by_node(&cluster, 30);
    let asks: Vec<Ask> = (0..3)
        .map(|node| Ask::Lease(lease(accounts[&node][0], 1)))
        .collect();
    link.ask(&asks).await.unwrap();
    cluster.nodes()[1].kill();
    for _ in 0..3 {
        let answers = link.ask_each(&asks).await;
        assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
        let error = answers[1].as_ref().unwrap_err();
        assert!(
            matches!(error, BucketsError::NodeAway { .. }) && !error.is_connection_lost(),
            "{error:?}"
        );
    }
    // A new link is made from the others.
    let other = gateway(&cluster.url(), "two").connect().await.unwrap();
    assert!(other.ask_each(&asks).await[2].is_ok());
    cluster.nodes()[2].pause().unwrap();
    let slow = tokio::time::timeout(Duration::from_millis(300), link.ask_each(&asks[..2])).await;
    assert!(
        slow.unwrap()[0].is_ok(),
        "a frozen node holds up another one's accounts"
    );
    cluster.nodes()[2].resume().unwrap();
    cluster.node_mut(1).unwrap().start_again().await.unwrap();
    // Started again it knows no cluster, but it answers: that it isn't the node that was asked for.
    let answered = eventually(SOON, || async {
        let error = link.ask_each(&asks[1..2]).await.remove(0).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        anyhow::ensure!(text.contains("CLUSTERDOWN"), "{text}");
        Ok(())
    });
    answered.await.unwrap();
}

/// Takes one token after the other from one bucket, until it is told to stop, and gives how many it got.
async fn take_until(link: &Link, account: AccountId, over: &AtomicBool, taken_so_far: &AtomicU64) -> u64 {
    let mut taken = 0;
    while !over.load(Ordering::Relaxed) {
        // What it got before is spent.
        let ask = LeaseAsk {
            limits: Limits {
                rate: 1,
                burst: 1_000_000,
            },
            ..lease(account, 1)
        };
        taken += ask_lease(link, ask).await.granted;
        taken_so_far.store(taken, Ordering::Relaxed);
    }
    taken
}

/// Waits until ten more questions were answered.
async fn some_more_are_taken(taken: &AtomicU64) {
    let enough = taken.load(Ordering::Relaxed) + 10 * 1_000;
    let deadline = std::time::Instant::now() + SOON;
    while taken.load(Ordering::Relaxed) < enough {
        assert!(std::time::Instant::now() < deadline, "no more is granted");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_slot_moves_no_question_is_lost_or_answered_twice() {
    let cluster = RedisCluster::start().await.unwrap();
    let link = gateway(&cluster.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let slot = cluster.slot_of(&bucket(account).key()).unwrap();
    let (over, taken_so_far) = (AtomicBool::new(false), AtomicU64::new(0));
    let moving = async {
        for _ in 0..4 {
            let moving = cluster.begin_move(slot).unwrap();
            some_more_are_taken(&taken_so_far).await;
            moving.migrate_keys().unwrap();
            some_more_are_taken(&taken_so_far).await;
            moving.finish().unwrap();
        }
        over.store(true, Ordering::Relaxed);
    };
    let started = std::time::Instant::now();
    let (taken, ()) = tokio::join!(take_until(&link, account, &over, &taken_so_far), moving);
    let state = ask_lease(
        &link,
        LeaseAsk {
            limits: Limits {
                rate: 1,
                burst: 1_000_000,
            },
            ..lease(account, 0)
        },
    );
    let level = state.await.level;
    let grown = i64::try_from(started.elapsed().as_millis()).unwrap() + 1;
    let missing = 1_000_000_000 - level;
    let taken = i64::try_from(taken).unwrap();
    assert!(taken > 50_000, "only {taken}");
    assert!(
        (taken - grown..=taken).contains(&missing),
        "{taken} were taken, {missing} are missing"
    );
}

#[tokio::test]
async fn questions_about_an_account_that_is_half_moved_are_answered_one_by_one() {
    let cluster = RedisCluster::start().await.unwrap();
    let link = gateway(&cluster.url(), "one").connect().await.unwrap();
    let account = AccountId::new();
    let mut other = lease(account, 5);
    other.bucket.environment = keyward_contract::Environment::Test;
    let asks = [Ask::Lease(lease(account, 5)), Ask::Lease(other)];
    // One of the two names is at the old node, the other nowhere.
    link.ask(&asks[..1]).await.unwrap();
    let slot = cluster.slot_of(&bucket(account).key()).unwrap();
    let moving = cluster.begin_move(slot).unwrap();
    let answers = link.ask(&asks).await.unwrap();
    let granted: Vec<u64> = answers
        .iter()
        .map(|answer| match answer {
            Answer::Lease(lease) => lease.granted,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(granted, [5000, 5000]);
    moving.migrate_keys().unwrap();
    moving.finish().unwrap();
    link.ask(&asks).await.unwrap();
}
