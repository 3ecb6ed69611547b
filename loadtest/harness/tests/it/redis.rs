//! The Redis servers that tests get.

use std::time::Duration;

use keyward_harness::{RedisCluster, RedisSentinels, RedisServer, eventually};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_redis_that_was_killed_comes_back_on_its_port_and_is_empty() {
    let mut server = RedisServer::start().await.unwrap();
    let address = server.address();
    server.command(&["SET", "a", "7"]).unwrap();
    assert_eq!(server.command(&["GET", "a"]).unwrap(), "7");
    server.kill();
    assert!(server.command(&["PING"]).is_err());
    server.start_again().await.unwrap();
    assert_eq!(server.address(), address);
    assert_eq!(server.command(&["GET", "a"]).unwrap(), "");
}

#[tokio::test]
async fn a_redis_that_was_paused_goes_on_with_what_it_held() {
    let server = RedisServer::start().await.unwrap();
    server.command(&["SET", "a", "7"]).unwrap();
    server.pause().unwrap();
    let stopped = std::fs::read_to_string(format!("/proc/{}/stat", server.process().pid())).unwrap();
    assert!(stopped.contains(") T "), "{stopped}");
    server.resume().unwrap();
    assert_eq!(server.command(&["GET", "a"]).unwrap(), "7");
}

#[tokio::test]
async fn a_killed_master_is_replaced_by_its_replica() {
    let mut sentinels = RedisSentinels::start().await.unwrap();
    sentinels.master().command(&["SET", "a", "7"]).unwrap();
    let replicated = eventually(SOON, || async {
        anyhow::ensure!(sentinels.replica().command(&["GET", "a"])? == "7");
        Ok(())
    });
    replicated.await.unwrap();
    let old = sentinels.master().port();
    sentinels.kill_master();
    sentinels.promoted(SOON).await.unwrap();
    assert_ne!(sentinels.master().port(), old);
    assert_eq!(sentinels.master().command(&["GET", "a"]).unwrap(), "7");
    sentinels.start_killed_again().await.unwrap();
    // A Sentinel tells a master that has come back what it is now when it has looked a few times, every ten seconds.
    let joined = eventually(3 * SOON, || async {
        anyhow::ensure!(sentinels.replica().command(&["GET", "a"])? == "7");
        Ok(())
    });
    joined.await.unwrap();
}

#[tokio::test]
async fn a_slot_moves_with_its_keys() {
    let cluster = RedisCluster::start().await.unwrap();
    let slot = cluster.slot_of("{x}a").unwrap();
    let from = cluster.node_of(slot).unwrap();
    cluster.nodes()[from].command(&["SET", "{x}a", "7"]).unwrap();
    cluster.move_slot(slot).unwrap();
    let to = cluster.node_of(slot).unwrap();
    assert_ne!(from, to);
    assert_eq!(cluster.nodes()[to].command(&["GET", "{x}a"]).unwrap(), "7");
    let error = cluster.nodes()[from].command(&["GET", "{x}a"]).unwrap_err();
    assert!(format!("{error:#}").contains("Moved"), "{error:#}");
}
