//! A quota is one number, however many gateways spend it: so many calls are forwarded and not one more, and it is
//! the number that is shown.

use std::time::Duration;

use keyward_harness::{RedisServer, eventually};
use keyward_loadtest::Pace;
use keyward_loadtest::paced::{Answer, Heard, Running};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::Account;
use crate::fleet::{self, Fleet, GATEWAYS, calls_of};
use crate::stack::{Plan, SOON};

const QUOTA: u64 = 1_000;
const GRANT: u64 = 10;
/// After so many refusals at every gateway without a call let through between them, a quota is used up.
const REFUSALS: u64 = 50;
const AT_MOST: Duration = Duration::from_secs(60);

/// What becomes of Redis on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redis {
    Stays,
    IsFlushed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_gateways_forward_exactly_the_quota_and_then_exactly_what_is_granted() {
    forwards_exactly_the_quota("leased", Redis::Stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_charged_call_by_call_is_exact_too() {
    forwards_exactly_the_quota("exact", Redis::Stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_exact_though_redis_forgets_it_half_way() {
    forwards_exactly_the_quota("leased", Redis::IsFlushed).await;
}

async fn forwards_exactly_the_quota(mode: &str, fate: Redis) {
    let _alone = fleet::alone().await;
    let redis = RedisServer::start().await.unwrap();
    let fleet = shared(mode, &redis).await;
    let account = limited(&fleet).await;
    // Four times as many at the first gateway as at each other.
    let paces = [200, 50, 50, 50].map(Pace::steady).to_vec();
    let load = fleet.load(paces, calls_of([&account]), AT_MOST);
    let load = load.start().await.unwrap();
    if fate == Redis::IsFlushed {
        forwarded(&fleet, QUOTA / 2).await;
        redis.command(&["FLUSHALL"]).unwrap();
    }
    forwarded(&fleet, QUOTA).await;
    let heard = used_up(&fleet, load).await;
    assert_eq!(heard.accepted(), QUOTA, "{:?}", heard.answers());
    assert_eq!(fleet.tally.total(), QUOTA);
    refused_everywhere(&fleet, &account).await;
    shown_everywhere(&fleet, &account, 0).await;

    grant(&fleet, &account).await;
    let load = fleet.steady(20, calls_of([&account]), AT_MOST);
    let load = load.start().await.unwrap();
    forwarded(&fleet, QUOTA + GRANT).await;
    let heard = used_up(&fleet, load).await;
    assert_eq!(heard.accepted(), GRANT, "{:?}", heard.answers());
    assert_eq!(fleet.tally.total(), QUOTA + GRANT);
    refused_everywhere(&fleet, &account).await;
    shown_everywhere(&fleet, &account, GRANT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_gateways_hold_of_a_quota_is_not_lost_to_the_one_that_is_called() {
    let _alone = fleet::alone().await;
    let redis = RedisServer::start().await.unwrap();
    let fleet = shared("leased", &redis).await;
    let account = limited(&fleet).await;
    let load = fleet.steady(100, calls_of([&account]), AT_MOST);
    let load = load.start().await.unwrap();
    forwarded(&fleet, QUOTA * 8 / 10).await;
    load.stop().await.unwrap();
    let paces = [100, 0, 0, 0].map(Pace::steady).to_vec();
    let load = fleet.load(paces, calls_of([&account]), AT_MOST);
    let load = load.start().await.unwrap();
    forwarded(&fleet, QUOTA).await;
    load.stop().await.unwrap();
    refused_everywhere(&fleet, &account).await;
    assert_eq!(fleet.tally.total(), QUOTA);
}

async fn shared(mode: &str, redis: &RedisServer) -> Fleet {
    let url = redis.url();
    let control_plane = format!("[limiter]\nredis = \"{url}\"\n");
    let plan = Plan {
        gateways: GATEWAYS,
        control_plane_tables: &control_plane,
        ..Plan::default()
    };
    let limiter = format!("mode = \"{mode}\"\nredis = \"{url}\"\ntimeout = \"1s\"\nmax_wait = \"250ms\"\n");
    Fleet::with(&limiter, plan).await
}

/// An account that only its quota limits.
async fn limited(fleet: &Fleet) -> Account {
    let overrides = json!({"annual_limit": QUOTA, "rate_limit": 1_000_000, "burst_limit": 1_000_000});
    fleet.account("custom", overrides).await
}

/// Waits until so many calls in all have reached the upstream.
async fn forwarded(fleet: &Fleet, calls: u64) {
    let reached = eventually(SOON, || async {
        let total = fleet.tally.total();
        anyhow::ensure!(total >= calls, "only {total} calls of {calls}");
        Ok(())
    });
    reached.await.unwrap();
}

/// Waits until no call was forwarded for a while in which many were sent, and ends the load.
async fn used_up(fleet: &Fleet, load: Running) -> Heard {
    let (total, sent) = (fleet.tally.total(), load.sent());
    let refused = eventually(SOON, || async {
        let more = load.sent() - sent;
        anyhow::ensure!(more >= REFUSALS * GATEWAYS as u64, "only {more} calls");
        Ok(())
    });
    refused.await.unwrap();
    assert_eq!(fleet.tally.total(), total);
    let heard = load.stop().await.unwrap();
    let wrong = heard.count(|call| !matches!(call.answer, Answer::Accepted | Answer::QuotaExceeded));
    assert_eq!(wrong, 0, "{:?}", heard.answers());
    heard
}

async fn refused_everywhere(fleet: &Fleet, account: &Account) {
    for heard in fleet.ask_everywhere(account, "/a").await {
        assert_eq!((heard.status, heard.code().as_str()), (403, "QUOTA_EXCEEDED"));
    }
}

async fn grant(fleet: &Fleet, account: &Account) {
    let path = format!("/admin/customers/{}/quota-grants", account.id);
    let granted = fleet
        .stack
        .admin(Method::POST, &path, json!({ "validations": GRANT }))
        .await;
    granted.expect(201).in_force_at(GATEWAYS);
}

/// What operators, the partner and the holder of the key are shown is what was enforced.
async fn shown_everywhere(fleet: &Fleet, account: &Account, granted: u64) {
    let limit = QUOTA + granted;
    let path = format!("/admin/usage/{}", account.id);
    let shown = eventually(SOON, || async {
        let told = fleet.stack.admin(Method::GET, &path, Value::Null).await;
        let told = told.expect(200).json();
        anyhow::ensure!(told["quota"]["used"] == limit, "{told}");
        Ok(told)
    });
    let shown = shown.await.unwrap();
    assert_eq!(shown["quota"]["granted"], granted, "{shown}");
    assert_eq!(shown["remaining"], 0, "{shown}");
    assert_eq!(shown["usage"]["current_year"]["count"], limit, "{shown}");
    assert_eq!(fleet.exported(&account.id).await.values().sum::<u64>(), limit);
    shown_to_the_partner(fleet, account, limit).await;
    for heard in fleet.ask_everywhere(account, "/.well-known/keyward/me").await {
        assert_eq!(heard.status, 200, "{}", heard.body);
        let quota = &heard.json()["quota"];
        assert_eq!(quota["limit"], limit, "{}", heard.body);
        assert_eq!(quota["used"], limit, "{}", heard.body);
        assert_eq!(quota["remaining"], 0, "{}", heard.body);
    }
}

async fn shown_to_the_partner(fleet: &Fleet, account: &Account, limit: u64) {
    let customer = fleet
        .stack
        .api
        .customer(&account.key, &format!("Seen at {limit}"))
        .await;
    let path = format!("/customers/{}/usage", customer.id);
    let told = fleet
        .stack
        .portal(&account.key, Method::GET, &path, Value::Null)
        .await;
    let told = told.expect(200).json();
    assert_eq!(told["quota"]["limit"], limit, "{told}");
    assert_eq!(told["quota"]["used"], limit, "{told}");
    assert_eq!(told["quota"]["remaining"], 0, "{told}");
}
