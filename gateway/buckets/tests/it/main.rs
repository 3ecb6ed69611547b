//! The buckets on real Redis servers: alone, under sentinels, and as a cluster.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod sentinel;
mod single;
mod tls;

use std::time::Duration;

use keyward_buckets::{
    Answer, Ask, BucketName, Buckets, LeaseAnswer, LeaseAsk, Link, QuotaAnswer, QuotaAsk, QuotaName,
    QuotaSpent, Rebuild,
};
use keyward_config::{RedisConfig, Topology};
use keyward_contract::{AccountId, Environment, Limits, UnixMillis};

const SOON: Duration = Duration::from_secs(20);

/// Where a test's servers are, out of the addresses that the harness gives.
fn config(url: &str) -> RedisConfig {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (hosts, service) = rest.split_once('/').unwrap_or((rest, ""));
    let topology = match scheme {
        "redis" => Topology::Single,
        "redis+cluster" => Topology::Cluster,
        _ => Topology::Sentinel {
            service: service.to_owned(),
        },
    };
    let hosts = hosts.split(',').map(|host| {
        let (host, port) = host.split_once(':').unwrap();
        (host.to_owned(), port.parse().unwrap())
    });
    RedisConfig {
        topology,
        hosts: hosts.collect(),
        database: 0,
        tls: false,
        username: None,
        password_file: None,
    }
}

fn gateway(url: &str, id: &str) -> Buckets {
    Buckets::new(config(url), id.to_owned())
}

fn bucket(account: AccountId) -> BucketName {
    BucketName {
        account,
        environment: Environment::Production,
        customer: None,
    }
}

/// Asks for `most` whole tokens of a bucket of 1 a second and 100 at most, so that time plays no part.
fn lease(account: AccountId, most: u64) -> LeaseAsk {
    LeaseAsk {
        bucket: bucket(account),
        limits: Limits { rate: 1, burst: 100 },
        holding: 0,
        returning: 0,
        debt: 0,
        least: 0,
        most: most * 1000,
        known: None,
    }
}

fn quota(account: AccountId, limit: u64, spent: QuotaSpent) -> QuotaAsk {
    QuotaAsk {
        quota: QuotaName {
            account,
            period_start: UnixMillis(1_767_225_600_000),
            // Far enough from any day on which this test runs.
            period_end: UnixMillis(4_102_444_800_000),
        },
        limit,
        spent,
        least: 1,
        most: 10,
        sharers: 1,
        rebuild: Rebuild::default(),
    }
}

async fn ask_lease(link: &Link, ask: LeaseAsk) -> LeaseAnswer {
    match link.ask(&[Ask::Lease(ask)]).await.unwrap()[..] {
        [Answer::Lease(answer)] => answer,
        ref other => panic!("{other:?}"),
    }
}

async fn ask_quota(link: &Link, ask: QuotaAsk) -> QuotaAnswer {
    match link.ask(&[Ask::Quota(ask)]).await.unwrap()[..] {
        [Answer::Quota(answer)] => answer,
        ref other => panic!("{other:?}"),
    }
}
