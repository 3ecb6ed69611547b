//! A master and its replica, under three sentinels.

use keyward_buckets::{Ask, BucketsError, LeaseAsk};
use keyward_contract::AccountId;
use keyward_harness::{RedisSentinels, RedisServer, eventually};

use crate::{SOON, ask_lease, bucket, gateway, lease};

async fn replicated(replica: &RedisServer, account: AccountId) {
    let key = bucket(account).key();
    let there = eventually(SOON, || async {
        anyhow::ensure!(replica.command(&["EXISTS", &key])? == "1");
        Ok(())
    });
    there.await.unwrap();
}

#[tokio::test]
async fn a_replica_that_was_made_the_master_goes_on_with_the_buckets() {
    let mut redis = RedisSentinels::start().await.unwrap();
    let buckets = gateway(&redis.url(), "one");
    let link = buckets.connect().await.unwrap();
    let account = AccountId::new();
    let first = ask_lease(&link, lease(account, 60)).await;
    replicated(redis.replica(), account).await;
    redis.kill_master();
    let error = link.ask(&[Ask::Lease(lease(account, 1))]).await.unwrap_err();
    assert!(error.is_connection_lost(), "{error:?}");
    redis.promoted(SOON).await.unwrap();
    let link = eventually(SOON, || async { Ok(buckets.connect().await?) })
        .await
        .unwrap();
    let kept = LeaseAsk {
        holding: 60_000,
        ..lease(account, 100)
    };
    let second = ask_lease(&link, kept).await;
    assert_eq!(second.born, first.born);
    assert!((30_000..=50_000).contains(&second.granted), "{second:?}");
}

#[tokio::test]
async fn a_master_that_froze_and_was_replaced_is_not_asked_again() {
    let mut redis = RedisSentinels::start().await.unwrap();
    let buckets = gateway(&redis.url(), "one");
    let link = buckets.connect().await.unwrap();
    let account = AccountId::new();
    ask_lease(&link, lease(account, 1)).await;
    redis.master().pause().unwrap();
    redis.promoted(SOON).await.unwrap();
    // While it is frozen nobody gets an answer from it; the link says so without asking it.
    let asks = [Ask::Lease(lease(account, 1))];
    let refused = eventually(SOON, || async {
        let asked = tokio::time::timeout(std::time::Duration::from_millis(50), link.ask(&asks));
        match asked.await {
            Ok(Err(error)) => Ok(error),
            other => anyhow::bail!("{other:?}"),
        }
    });
    let error = refused.await.unwrap();
    assert!(
        error.is_connection_lost() && error.nothing_happened(),
        "{error:?}"
    );
    redis.replica().resume().unwrap();
    let error = link.ask(&[Ask::Lease(lease(account, 1))]).await.unwrap_err();
    assert!(error.is_connection_lost(), "{error:?}");
    ask_lease(&buckets.connect().await.unwrap(), lease(account, 1)).await;
}

#[tokio::test]
async fn a_server_that_says_it_is_no_master_is_not_taken_for_one() {
    let redis = RedisSentinels::start().await.unwrap();
    let buckets = gateway(&redis.url(), "one");
    buckets.connect().await.unwrap();
    let elsewhere = RedisServer::start().await.unwrap();
    let port = elsewhere.port().to_string();
    redis
        .master()
        .command(&["REPLICAOF", "127.0.0.1", &port])
        .unwrap();
    // The sentinels have not noticed yet.
    let error = buckets.connect().await.unwrap_err();
    assert!(matches!(error, BucketsError::NotServing(_)), "{error:?}");
}
