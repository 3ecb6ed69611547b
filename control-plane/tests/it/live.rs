//! What is left in the buckets that gateways share, read from a real Redis, and what is shown when it is away.

use std::time::Duration;

use keyward_buckets::{Answer as Answered, Ask, BucketName, Buckets, LeaseAnswer, LeaseAsk};
use keyward_config::{RedisConfig, Topology};
use keyward_contract::{AccountId, Environment, Limits, feed};
use keyward_control_plane::store::usage::{Merger, Report, Reported};
use keyward_harness::{RedisServer, free_port};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::plane::{Company, Plane};

/// A rate at which nothing comes back while a test runs.
const SLOW: Limits = Limits {
    rate: 1,
    burst: 5_000,
};

fn on_port(port: u16) -> RedisConfig {
    RedisConfig {
        topology: Topology::Single,
        hosts: vec![("127.0.0.1".into(), port)],
        database: 0,
        tls: false,
        username: None,
        password_file: None,
    }
}

async fn plane_with(port: u16) -> Plane {
    Plane::start_with(|config| config.redis = Some(on_port(port))).await
}

/// An account whose buckets fill as slowly as there is.
async fn slow_company(plane: &Plane) -> Company {
    let company = plane.company("Acme").await;
    let overrides = json!({"rate_limit": SLOW.rate, "burst_limit": SLOW.burst});
    let path = format!("/admin/customers/{}", company.id);
    let custom = json!({"tier": "custom", "overrides": overrides});
    plane.admin("PUT", path).json(&custom).send().await.expect(200);
    company
}

async fn shown(plane: &Plane, company: &Company) -> Value {
    let path = format!("/admin/usage/{}", company.id);
    let usage = plane.admin("GET", path).send().await.expect(200).json();
    usage["rate_limit"].clone()
}

async fn of_customer(plane: &Plane, company: &Company, customer: &str) -> Value {
    let call = plane.call("GET", format!("/customers/{customer}/usage"));
    let usage = call.key(&company.live).send().await.expect(200).json();
    usage["rateLimit"].clone()
}

async fn readiness(plane: &Plane) -> (u16, Value) {
    let url = format!("http://{}/readyz", plane.running.admin);
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// As a gateway does: takes tokens out of a bucket, and says how many it still holds.
async fn lease(gateway: &Buckets, bucket: BucketName, (holding, most): (u64, u64)) -> LeaseAnswer {
    let ask = LeaseAsk {
        bucket,
        limits: SLOW,
        holding: holding * 1_000,
        returning: 0,
        debt: 0,
        least: 0,
        most: most * 1_000,
        known: None,
    };
    let link = gateway.connect().await.unwrap();
    let answers = link.ask(&[Ask::Lease(ask)]).await.unwrap();
    match answers.as_slice() {
        [Answered::Lease(answer)] => *answer,
        other => panic!("{other:?}"),
    }
}

fn bucket(company: &Company, customer: Option<&str>) -> BucketName {
    BucketName {
        account: company.id.parse().unwrap(),
        environment: Environment::Production,
        customer: customer.map(|id| id.parse().unwrap()),
    }
}

/// Whether so many are left, or a few more that have come back since.
#[track_caller]
fn assert_left(shown: &Value, expected: u64) {
    let remaining = shown["remaining"].as_u64().unwrap();
    assert!((expected..expected + 100).contains(&remaining), "{shown}");
}

#[tokio::test]
async fn what_is_left_is_shown_across_all_gateways_with_what_they_hold() {
    let redis = RedisServer::start().await.unwrap();
    let plane = plane_with(redis.port()).await;
    let company = slow_company(&plane).await;
    let customer = plane.customer(&company.live, "Uni").await;
    let customer = customer["id"].as_str().unwrap();
    let before = shown(&plane, &company).await;
    let now = plane.running.registry().clock.now().0 / 1_000;
    let full = |reset: &Value| json!({"rate": 1, "burst": 5_000, "remaining": 5_000, "reset": reset});
    let untouched = |side: &Value| {
        assert!((side["reset"].as_i64().unwrap() - now).abs() <= 5, "{side}");
        assert_eq!(*side, full(&side["reset"]));
    };
    assert_eq!(before["source"], "redis");
    untouched(&before["production"]);
    untouched(&before["test"]);

    let gateways = ["edge-1", "edge-2"].map(|id| Buckets::new(on_port(redis.port()), id.into()));
    let account = bucket(&company, None);
    for (gateway, spent) in gateways.iter().zip([1_000, 500]) {
        assert_eq!(lease(gateway, account, (0, spent)).await.granted, spent * 1_000);
        // It holds nothing of it any more.
        lease(gateway, account, (0, 0)).await;
    }
    let after = shown(&plane, &company).await;
    assert_left(&after["production"], 3_500);
    let reset = after["production"]["reset"].as_i64().unwrap();
    assert!((1_400..=1_505).contains(&(reset - now)), "{after}");
    untouched_but_later(&after["test"], &full);

    // What a gateway holds may be spent yet.
    assert_eq!(lease(&gateways[0], account, (0, 2_000)).await.granted, 2_000_000);
    let holder = gateways[0].clone();
    let holding = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            lease(&holder, account, (2_000, 0)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
    plane
        .eventually(async || {
            let remaining = shown(&plane, &company).await["production"]["remaining"].as_u64();
            remaining.is_some_and(|remaining| (3_500..3_600).contains(&remaining))
        })
        .await;
    // What it doesn't renew is lost.
    drop(holding);
    plane
        .eventually(async || {
            let remaining = shown(&plane, &company).await["production"]["remaining"].as_u64();
            remaining.is_some_and(|remaining| (1_500..1_700).contains(&remaining))
        })
        .await;

    // An end customer's bucket is its own.
    assert_left(&of_customer(&plane, &company, customer).await, 5_000);
    let of = bucket(&company, Some(customer));
    lease(&gateways[1], of, (0, 4_000)).await;
    lease(&gateways[1], of, (0, 0)).await;
    assert_left(&of_customer(&plane, &company, customer).await, 1_000);
    assert_eq!(readiness(&plane).await.1["redis"], "up");
}

#[track_caller]
fn untouched_but_later(side: &Value, full: &impl Fn(&Value) -> Value) {
    assert_eq!(*side, full(&side["reset"]));
}

/// What a gateway last saw in an end customer's bucket, by its report.
async fn seen(plane: &Plane, company: &Company, customer: &str, millitokens: u64) {
    let registry = plane.running.registry();
    let account: AccountId = company.id.parse().unwrap();
    let now = registry.clock.now();
    let counter = feed::UsageCounter {
        account_id: account.as_uuid().as_bytes().to_vec(),
        environment: feed::Environment::Production.into(),
        customer_id: customer.into(),
        route: "/".into(),
        hour: now.hour(),
        accepted: 1,
        boot_epoch: 1,
        bucket_millitokens: millitokens,
        bucket_at_ms: now.0,
        ..feed::UsageCounter::default()
    };
    let report = Report {
        gateway_id: "edge-1".into(),
        counters: vec![Reported::check(counter, 1).unwrap()],
    };
    Merger::default().merge(&registry.store, &[report]).await.unwrap();
}

/// Nothing is known of the account's buckets but their size, and of the end customer's what a gateway saw.
async fn falls_back(plane: &Plane, company: &Company, customer: &str) {
    let unknown = json!({"rate": 1, "burst": 5_000, "remaining": null, "reset": null});
    let expected = json!({"source": null, "production": unknown, "test": unknown});
    plane
        .eventually(async || shown(plane, company).await == expected)
        .await;
    assert_left(&of_customer(plane, company, customer).await, 1_234);
}

async fn comes_back(plane: &Plane, company: &Company, customer: &str) {
    plane
        .eventually(async || shown(plane, company).await["source"] == "redis")
        .await;
    assert_left(&of_customer(plane, company, customer).await, 5_000);
}

#[tokio::test]
async fn while_redis_is_away_or_slow_what_gateways_saw_is_shown_and_the_control_plane_stays_ready() {
    let port = free_port().unwrap();
    let plane = plane_with(port).await;
    let company = slow_company(&plane).await;
    let customer = plane.customer(&company.live, "Uni").await;
    let customer = customer["id"].as_str().unwrap();
    seen(&plane, &company, customer, 1_234_000).await;
    falls_back(&plane, &company, customer).await;
    let (status, ready) = readiness(&plane).await;
    assert_eq!((status, &ready["redis"]), (200, &json!("away")));

    let mut redis = RedisServer::start_on(port, &[]).await.unwrap();
    comes_back(&plane, &company, customer).await;
    redis.pause().unwrap();
    falls_back(&plane, &company, customer).await;
    assert_eq!(readiness(&plane).await.0, 200);
    redis.resume().unwrap();
    comes_back(&plane, &company, customer).await;
    redis.kill();
    falls_back(&plane, &company, customer).await;
    plane
        .eventually(async || redis.process().exited().is_ok_and(|exit| exit.is_some()))
        .await;
    redis.start_again().await.unwrap();
    comes_back(&plane, &company, customer).await;
    // A connection that the server ended is noticed and made anew before the answer.
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
    assert_eq!(shown(&plane, &company).await["source"], "redis");
}

#[tokio::test]
async fn without_a_redis_nothing_is_known_of_an_accounts_buckets() {
    let plane = Plane::start().await;
    let company = slow_company(&plane).await;
    let customer = plane.customer(&company.live, "Uni").await;
    let customer = customer["id"].as_str().unwrap();
    seen(&plane, &company, customer, 1_234_000).await;
    falls_back(&plane, &company, customer).await;
    let (status, ready) = readiness(&plane).await;
    assert_eq!((status, &ready["redis"]), (200, &Value::Null));
}
