//! Whatever happens to Redis, no caller hears of it: calls go by their fallback, which keeps the rate, and are back to
//! the exact rate soon after Redis is.

use std::time::Duration;

use keyward_harness::{RedisCluster, RedisSentinels, RedisServer, eventually, metric};
use keyward_loadtest::Law;
use keyward_loadtest::paced::{Answer, Heard, Limit, Running};
use serde_json::Value;

use crate::api::Account;
use crate::fleet::{self, Fleet, GATEWAYS, GROWTH, accepted, accepted_or_limited, calls_of};
use crate::stack::{Plan, SOON};

/// What all gateways together may accept meanwhile: at most a tenth more than the rate.
const SHARED: Law = Law {
    rate: GROWTH.rate * 11 / 10,
    ..GROWTH
};
/// Four times the rate, in all.
const EACH: u32 = 100;
/// Long enough to empty the bucket.
const BEFORE: Duration = Duration::from_secs(2);
/// Longer than a bucket takes to be full.
const AWAY: Duration = Duration::from_secs(4);
/// What was spent in a long one is more than a bucket holds, several times.
const LONG: Duration = Duration::from_secs(8);
/// So long after Redis is back, the rate is exact again.
const SETTLED: Duration = Duration::from_secs(2);
const JUDGED: Duration = Duration::from_secs(3);
/// Without an answer for so long, Redis is away. A machine that is busy otherwise shall not look like that.
const TIMEOUT: &str = "timeout = \"50ms\"\nmax_wait = \"50ms\"\n";
/// Tokens that gateways hold at the beginning of a stretch of time may be spent in it.
const HELD: u64 = GROWTH.burst / 10;

/// One fault under load: when it began, when Redis was back, and until when it was watched after that.
struct Fault {
    name: &'static str,
    began: Duration,
    back: Duration,
    until: Duration,
    noticed: Noticed,
}

/// Whether gateways must say that Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noticed {
    Yes,
    Perhaps,
}

/// An account under load.
struct Scene {
    fleet: Fleet,
    account: Account,
    load: Running,
    faults: Vec<Fault>,
}

impl Scene {
    async fn begin(url: &str) -> Self {
        let fleet = Fleet::start(&format!("mode = \"leased\"\nredis = \"{url}\"\n{TIMEOUT}")).await;
        let account = fleet.account("growth", Value::Null).await;
        let load = fleet.steady(EACH, calls_of([&account]), Duration::from_secs(180));
        let load = load.start().await.unwrap();
        load.reached(BEFORE).await;
        Self {
            fleet,
            account,
            load,
            faults: Vec::new(),
        }
    }

    /// Makes a fault and mends it, then watches. Gateways must tell that Redis is away, and that it is back.
    async fn outage(&mut self, name: &'static str, begin: impl AsyncFnOnce(), mend: impl AsyncFnOnce()) {
        self.outage_of(AWAY, name, begin, mend).await;
    }

    async fn outage_of(
        &mut self,
        lasts: Duration,
        name: &'static str,
        begin: impl AsyncFnOnce(),
        mend: impl AsyncFnOnce(),
    ) {
        let began = self.load.elapsed();
        begin().await;
        self.redis_is("away", name).await;
        self.load.reached(began + lasts).await;
        mend().await;
        self.watch(name, began, Noticed::Yes).await;
    }

    /// The same for what need not be noticed.
    async fn incident(&mut self, name: &'static str, happen: impl AsyncFnOnce()) {
        let began = self.load.elapsed();
        happen().await;
        self.watch(name, began, Noticed::Perhaps).await;
    }

    async fn watch(&mut self, name: &'static str, began: Duration, noticed: Noticed) {
        let back = self.load.elapsed();
        self.redis_is("up", name).await;
        let until = back + SETTLED + JUDGED;
        self.load.reached(until).await;
        self.faults.push(Fault {
            name,
            began,
            back,
            until,
            noticed,
        });
    }

    async fn redis_is(&self, state: &str, name: &str) {
        let told = |told: &Value| match state {
            "up" => told["detail"]["limiter"]["redis"] == "up",
            _ => told["detail"]["limiter"]["redis"] != "up",
        };
        self.fleet.all_say(&format!("{name}: not {state}"), told).await;
    }

    async fn end(self) {
        let heard = self.load.stop().await.unwrap();
        accepted_or_limited(&heard);
        for fault in &self.faults {
            fault.judge(&heard);
        }
        assert_eq!(SHARED.broken_by(accepted(&heard, |_| true)), None);
        let noticed = self.faults.iter().filter(|fault| fault.noticed == Noticed::Yes);
        let noticed = noticed.count();
        for gateway in &self.fleet.stack.gateways {
            let told = gateway.metrics().await.unwrap();
            let outages = metric(&told, "keyward_limiter_outages_total", &[]).unwrap_or_default();
            assert!(outages as usize >= noticed, "{outages} of {noticed}");
            assert_eq!(metric(&told, "keyward_limiter_away", &[]), Some(0.0));
        }
    }
}

impl Fault {
    /// Accepted calls in each quarter of a second, from one second before it on.
    fn course(&self, heard: &Heard) -> Vec<u64> {
        const STEP: Duration = Duration::from_millis(250);
        let mut from = self.began.saturating_sub(STEP * 4);
        let mut course = Vec::new();
        while from < self.until {
            course.push(heard.accepted_between(from, from + STEP));
            from += STEP;
        }
        course
    }

    fn judge(&self, heard: &Heard) {
        let tokens = |law: Law, time: Duration| law.allowed(time) - law.burst;
        let away = self.back - self.began;
        let name = format!("{} at {:?}, back at {:?}", self.name, self.began, self.back);
        let name = format!("{name}, accepted every 250 ms: {:?}", self.course(heard));
        let meanwhile = heard.accepted_between(self.began, self.back);
        let slack = slack(heard, self.began, self.back);
        let most = tokens(SHARED, away) + HELD + slack;
        assert!(meanwhile <= most, "{name}: {meanwhile} of {most} while away");
        if self.noticed == Noticed::Yes {
            let least = tokens(GROWTH, away) * 8 / 10;
            assert!(
                meanwhile + slack >= least,
                "{name}: {meanwhile} of {least} while away"
            );
        }
        let (from, until) = (self.back + SETTLED, self.until);
        let after = heard.accepted_between(from, until);
        judge_rate(heard, (from, until), after, &name);
    }
}

/// After a moment in which the machine stood still, what came meanwhile is spent late, and gateways go by their
/// fallback for a while: so many calls more or fewer prove nothing.
fn slack(heard: &Heard, from: Duration, until: Duration) -> u64 {
    let still = heard.still_between(from.saturating_sub(SETTLED), until);
    still
        .map(|lasted| GROWTH.allowed(lasted) - GROWTH.burst + HELD)
        .sum()
}

/// So many were accepted between these moments, with Redis up: as many as the rate has, give or take what was held.
#[track_caller]
fn judge_rate(heard: &Heard, (from, until): (Duration, Duration), accepted: u64, name: &str) {
    let exact = GROWTH.allowed(until - from) - GROWTH.burst;
    let slack = slack(heard, from, until);
    let told = format!("{name}: {accepted} of {exact} afterwards, give or take {slack}");
    assert!(accepted <= exact + HELD + slack, "{told}");
    assert!((accepted + slack) * 10 >= exact * 9, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_redis_that_stops_dies_pauses_forgets_or_refuses_harms_no_call() {
    let _alone = fleet::alone().await;
    let mut redis = RedisServer::start().await.unwrap();
    let mut scene = Scene::begin(&redis.url()).await;
    let told = |words: &[&str]| {
        redis.command(words).unwrap();
    };
    let (stop, go_on) = (async || redis.pause().unwrap(), async || redis.resume().unwrap());
    scene.outage("stopped", stop, go_on).await;
    let (pause, none) = (async || told(&["CLIENT", "PAUSE", "4000", "ALL"]), async || {});
    scene.outage("paused", pause, none).await;
    scene.incident("flushed", async || told(&["FLUSHALL"])).await;
    let refuse = async || told(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let accept = async || told(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    scene.outage("read-only", refuse, accept).await;
    redis = {
        let redis = tokio::sync::Mutex::new(redis);
        let kill = async || redis.lock().await.kill();
        let start = async || redis.lock().await.start_again().await.unwrap();
        scene
            .outage_of(LONG, "killed and started empty", kill, start)
            .await;
        redis.into_inner()
    };
    scene.end().await;
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_its_sentinels_replace_harms_no_call() {
    let _alone = fleet::alone().await;
    let redis = RedisSentinels::start().await.unwrap();
    let mut scene = Scene::begin(&redis.url()).await;
    let redis = tokio::sync::Mutex::new(redis);
    let kill = async || redis.lock().await.kill_master();
    let replaced = async || redis.lock().await.promoted(SOON).await.unwrap();
    scene.outage("failed over", kill, replaced).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_moves_a_slot_or_loses_a_node_harms_no_call() {
    let _alone = fleet::alone().await;
    let mut cluster = RedisCluster::start().await.unwrap();
    let mut scene = Scene::begin(&cluster.url()).await;
    let slot = slot_of(&cluster, &scene.account).await;
    let move_it = async || cluster.move_slot(slot).unwrap();
    scene.incident("slot moved", move_it).await;
    let node = cluster.node_of(slot).unwrap();
    cluster = {
        let cluster = tokio::sync::Mutex::new(cluster);
        let kill = async || cluster.lock().await.node_mut(node).unwrap().kill();
        let start = async || {
            let mut cluster = cluster.lock().await;
            cluster.node_mut(node).unwrap().start_again().await.unwrap();
        };
        scene.outage("node killed and started empty", kill, start).await;
        cluster.into_inner()
    };
    scene.end().await;
    drop(cluster);
}

/// The slot in which what belongs to an account is.
async fn slot_of(cluster: &RedisCluster, account: &Account) -> u16 {
    let slot = eventually(SOON, || async {
        for node in cluster.nodes() {
            let keys = node.command(&["KEYS", "*"])?;
            if let Some(key) = keys.lines().find(|key| key.contains(&account.id)) {
                return cluster.slot_of(key);
            }
        }
        anyhow::bail!("no node holds anything of the account")
    });
    slot.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tier_falls_back_in_its_own_way() {
    const TIERS: &str = "[[tiers]]\nkey = \"growth\"\n\
        [[tiers]]\nkey = \"strict\"\nfallback = \"deny\"\nname = \"Strict\"\nannual_price = 0\n\
        annual_limit = 1000000\nrate_limit = \"100/s\"\nburst_limit = 200\nsla = \"99.9%\"\n\
        [[tiers]]\nkey = \"open\"\nfallback = \"allow\"\nname = \"Open\"\nannual_price = 0\n\
        annual_limit = 1000000\nrate_limit = \"100/s\"\nburst_limit = 200\nsla = \"99.9%\"\n";
    /// Leased tokens may be spent for so long.
    const LEASE: Duration = Duration::from_secs(1);
    let _alone = fleet::alone().await;
    let redis = RedisServer::start().await.unwrap();
    let plan = Plan {
        gateways: GATEWAYS,
        control_plane_tables: TIERS,
        ..Plan::default()
    };
    let limiter = format!(
        "mode = \"leased\"\nredis = \"{}\"\nfallback = \"share\"\n{TIMEOUT}",
        redis.url()
    );
    let fleet = Fleet::with(&limiter, plan).await;
    let mut accounts = Vec::new();
    for tier in ["growth", "strict", "open"] {
        accounts.push(fleet.account(tier, Value::Null).await);
    }
    // Half as much again as each may.
    let load = fleet.steady(112, calls_of(&accounts), Duration::from_secs(60));
    let load = load.start().await.unwrap();
    load.reached(BEFORE).await;
    let began = load.elapsed();
    redis.pause().unwrap();
    let away = |told: &Value| told["detail"]["limiter"]["redis"] == "away";
    fleet.all_say("not away", away).await;
    let noticed = load.elapsed();
    load.reached(noticed + LEASE + AWAY).await;
    let back = load.elapsed();
    redis.resume().unwrap();
    load.reached(back + SETTLED + JUDGED).await;
    let heard = load.stop().await.unwrap();

    accepted_or_limited(&heard);
    let [shared, strict, open] = [0, 1, 2].map(|account| {
        let calls = heard.calls.iter().filter(|call| call.caller == account);
        let calls = calls.filter(|call| (noticed + LEASE..back).contains(&call.sent));
        calls.map(|call| call.answer).collect::<Vec<_>>()
    });
    let accepted_of = |answers: &[Answer]| {
        answers
            .iter()
            .filter(|answer| **answer == Answer::Accepted)
            .count()
    };
    let refused = Answer::Limited(Limit::Account);
    assert!(
        strict.iter().all(|answer| *answer == refused),
        "{}",
        accepted_of(&strict)
    );
    assert_eq!(accepted_of(&open), open.len());
    assert!(accepted_of(&shared) > 0 && accepted_of(&shared) < shared.len());
    for account in [0, 1] {
        let law = if account == 0 { SHARED } else { GROWTH };
        let broken = law.broken_by(accepted(&heard, |caller| caller == account));
        assert_eq!(broken, None, "account {account}, away from {began:?} to {back:?}");
    }
    for account in [0, 1, 2] {
        let after = heard.count(|call| {
            let settled = call.ended >= back + SETTLED && call.ended < back + SETTLED + JUDGED;
            call.accepted() && call.caller == account && settled
        });
        let judged = (back + SETTLED, back + SETTLED + JUDGED);
        judge_rate(&heard, judged, after, &format!("account {account}"));
    }
}
