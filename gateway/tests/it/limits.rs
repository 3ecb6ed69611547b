//! What limits say when they refuse, and what they do when they only count.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use keyward_contract::{AccountRecord, Grant, KeyKind, LimitMode, Limits, UnixMillis, feed};

use crate::cut::eventually;
use crate::fixture::{Answer, Key, Keys, World, get, read_answer};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";

/// A world with one account and an account key of it.
fn world(change: impl FnOnce(&mut AccountRecord), more: &str) -> (World, Key) {
    let mut keys = Keys::new();
    let account = keys.account(change);
    let key = keys.key(KeyKind::Account, &account, |_| {});
    (World::start(&keys, more), key)
}

/// Calls that are under way on routes with a bound.
fn held(world: &World) -> usize {
    world
        .gateway
        .as_ref()
        .unwrap()
        .shared()
        .limiter
        .route_calls()
        .counters()
}

/// Begins a call that the upstream answers only after a while, and waits until the upstream has it.
fn begin(world: &World, target: &str, key: &Key) -> TcpStream {
    let before = world.upstream_calls();
    let mut stream = world.connect();
    let request = get(target, &[("x-api-key", key.text())]);
    stream.write_all(request.as_bytes()).unwrap();
    eventually("a call at the upstream", || world.upstream_calls() > before);
    stream
}

fn counted(world: &World, field: impl Fn(&feed::UsageCounter) -> u64) -> u64 {
    let ledger = &world.gateway.as_ref().unwrap().shared().ledger;
    let report = ledger.report(1_000);
    ledger.withdrawn();
    report.map_or(0, |report| report.counters.iter().map(field).sum())
}

/// The value of a series whose name begins so, or 0.
fn metric(world: &World, series: &str) -> f64 {
    let text = world.gateway.as_ref().unwrap().shared().telemetry.render();
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[track_caller]
fn assert_in_flight_refusal(refused: &Answer, bound: u32) {
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"));
    let details = refused.json()["error"]["details"].clone();
    assert_eq!(details["limit"], "route");
    assert_eq!(details["maxInFlight"], bound);
    let text = bound.to_string();
    assert_eq!(refused.header("x-ratelimit-limit"), Some(text.as_str()));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.header("ratelimit"), Some("\"route\";r=0;t=1"));
    let policy = refused.header("ratelimit-policy").unwrap();
    let ours = format!(", \"route\";q={bound};qu=\"concurrent-requests\"");
    assert!(
        policy.starts_with("\"account\";q=") && policy.ends_with(&ours),
        "{policy}"
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(details["retryAfterSeconds"], wait);
    let reset: i64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    assert!((0..=2).contains(&(reset - now)), "{reset} at {now}");
}

#[test]
fn so_many_calls_of_one_account_at_once_and_the_next_is_refused_and_charges_nothing() {
    let (world, key) = world(
        |account| {
            account.limits = Limits { rate: 1, burst: 10 };
            account.annual_limit = 3;
        },
        &format!("{ROUTE}max_in_flight = 2\n"),
    );
    let first = begin(&world, "/delay/20000", &key);
    let mut second = begin(&world, "/delay/400", &key);
    for _ in 0..20 {
        assert_in_flight_refusal(&world.get("/", &[("x-api-key", key.text())]), 2);
    }
    assert_eq!(counted(&world, |counter| counter.rate_limited), 20);
    // Its place is free once its answer is out, and after a client that goes away.
    assert_eq!(read_answer(&mut second).status, 200);
    drop(first);
    eventually("an empty route", || held(&world) == 0);
    let answer = world.get("/", &[("x-api-key", key.text())]);
    assert_eq!(answer.status, 200);
    // Ten less the three that were let in, and perhaps one or two that came back with time.
    let remaining: u64 = answer.header("x-ratelimit-remaining").unwrap().parse().unwrap();
    assert!((7..=9).contains(&remaining), "{remaining}");
    assert_eq!(counted(&world, |counter| counter.accepted), 3);
}

#[test]
fn the_bound_is_each_accounts_own_and_each_routes() {
    let mut keys = Keys::new();
    let accounts = [keys.account(|_| {}), keys.account(|_| {})];
    let [one, other] = accounts.map(|account| keys.key(KeyKind::Account, &account, |_| {}));
    let bounded = format!("{ROUTE}max_in_flight = 1\n");
    let elsewhere =
        "[[routes]]\npath = \"/count\"\nupstream = \"api\"\nrequire = \"account\"\nmax_in_flight = 1\n";
    let open = "[[routes]]\npath = \"/echo\"\nupstream = \"api\"\nrequire = \"account\"\n";
    let world = World::start(&keys, &format!("{bounded}{elsewhere}{open}"));
    let _under_way = begin(&world, "/delay/20000", &one);
    let status = |target: &str, key: &Key| world.get(target, &[("x-api-key", key.text())]).status;
    assert_eq!(status("/", &one), 429);
    assert_eq!(status("/", &other), 200);
    assert_eq!(status("/count", &one), 200);
    assert_eq!(status("/echo", &one), 200);
}

#[test]
fn a_call_that_is_refused_for_something_else_keeps_no_place() {
    let (world, key) = world(
        |account| account.limits = Limits { rate: 1, burst: 1 },
        &format!(
            "{ROUTE}max_in_flight = 1\n[[routes]]\npath = \"/nobody\"\nupstream = \"nobody\"\nrequire = \"account\"\nmax_in_flight = 1\n"
        ),
    );
    for _ in 0..3 {
        let answer = world.get("/nobody", &[("x-api-key", key.text())]);
        assert_eq!(answer.code(), "UPSTREAM_UNAVAILABLE");
    }
    assert_eq!(world.get("/", &[("x-api-key", key.text())]).status, 200);
    let refused = world.get("/", &[("x-api-key", key.text())]);
    assert_eq!(refused.json()["error"]["details"]["limit"], "account");
    eventually("an empty route", || held(&world) == 0);
}

#[test]
fn a_quota_that_is_used_up_is_told_before_too_many_calls_at_once() {
    let (world, key) = world(
        |account| account.annual_limit = 1,
        &format!("{ROUTE}max_in_flight = 1\n"),
    );
    let _under_way = begin(&world, "/delay/20000", &key);
    let refused = world.get("/", &[("x-api-key", key.text())]);
    assert_eq!((refused.status, refused.code().as_str()), (403, "QUOTA_EXCEEDED"));
}

#[test]
fn a_refusal_says_which_limit_with_its_own_numbers() {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.limits = Limits { rate: 3, burst: 4 });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let small = keys.key(KeyKind::Customer, &account, |key| {
        key.customer_limits = Some(Limits { rate: 1, burst: 2 });
    });
    let over = keys.account(|account| account.annual_limit = 1);
    let over = keys.key(KeyKind::Account, &over, |_| {});
    let customers = "[[routes]]\npath = \"/customers\"\nupstream = \"api\"\n";
    let world = World::start(&keys, &format!("{ROUTE}cost = 2\n{customers}"));
    let until_refused = |target: &str, headers: &[(&str, &str)]| {
        let mut answers = std::iter::repeat_with(|| world.get(target, headers)).take(20);
        let refused = answers.find(|answer| answer.status != 200).unwrap();
        refused.json()["error"]["details"].clone()
    };
    let customer = until_refused(
        "/customers",
        &[("x-api-key", key.text()), ("x-customer-key", small.text())],
    );
    assert_eq!(
        (&customer["limit"], &customer["ratePerSecond"], &customer["burst"]),
        (&"customer".into(), &1.into(), &2.into())
    );
    let account = until_refused("/", &[("x-api-key", key.text())]);
    assert_eq!(
        (&account["limit"], &account["ratePerSecond"], &account["burst"]),
        (&"account".into(), &3.into(), &4.into())
    );
    assert!(account["retryAfterSeconds"].as_u64().unwrap() >= 1);
    let quota = until_refused("/", &[("x-api-key", over.text())]);
    assert_eq!((&quota["limit"], &quota["used"]), (&1.into(), &1.into()));
    assert!(quota["resetsAt"].as_str().unwrap().ends_with("T00:00:00.000Z"));
}

#[test]
fn an_answer_says_when_the_bucket_is_full_again_and_a_refusal_when_the_call_could_pass() {
    let (world, key) = world(
        |account| account.limits = Limits { rate: 1, burst: 100 },
        &format!("{ROUTE}cost = 60\n"),
    );
    let call = || {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let answer = world.get("/", &[("x-api-key", key.text())]);
        let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
        let (name, rest) = answer.header("ratelimit").unwrap().split_once(";r=").unwrap();
        let (remaining, wait) = rest.split_once(";t=").unwrap();
        assert_eq!((name, number("x-ratelimit-limit")), ("\"account\"", 100));
        assert_eq!(remaining.parse(), Ok(number("x-ratelimit-remaining")));
        let wait: u64 = wait.parse().unwrap();
        let until_reset = number("x-ratelimit-reset") - now;
        assert!((wait..=wait + 2).contains(&until_reset), "{until_reset} {wait}");
        assert_eq!(
            answer.header("ratelimit-policy").unwrap().split(", ").next(),
            Some("\"account\";q=100;w=100")
        );
        (answer.status, number("x-ratelimit-remaining"), wait)
    };
    // Sixty were taken, and one or two may have come back.
    let (status, remaining, wait) = call();
    assert!(
        status == 200 && (40..=42).contains(&remaining) && (58..=60).contains(&wait),
        "{remaining} {wait}"
    );
    let (status, remaining, wait) = call();
    assert!(
        status == 429 && (40..=45).contains(&remaining) && (15..=20).contains(&wait),
        "{remaining} {wait}"
    );
}

#[test]
fn a_granted_quota_is_the_one_that_is_shown() {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let (world, key) = world(
        |account| {
            account.annual_limit = 1_000;
            account.grants = vec![Grant {
                at: UnixMillis(now),
                validations: 10,
            }];
        },
        ROUTE,
    );
    let answer = world.get("/", &[("x-api-key", key.text())]);
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some("\"account\";q=200;w=2, \"quota\";q=1010;w=31536000")
    );
}

#[test]
fn a_route_in_shadow_counts_what_it_would_have_refused_and_lets_it_through() {
    let log = "[access_log]\npath = \"{folder}/access.log\"\nsample = 1.0\n";
    let (world, key) = world(
        |account| account.limits = Limits { rate: 1, burst: 3 },
        &format!("{ROUTE}mode = \"shadow\"\n{log}"),
    );
    let began = Instant::now();
    for _ in 0..10 {
        let answer = world.get("/", &[("x-api-key", key.text())]);
        assert_eq!(answer.status, 200);
        assert!(answer.header("x-ratelimit-remaining").is_some());
    }
    // What enforcing would have let through: the burst and what came back with time.
    let most = 3 + began.elapsed().as_secs() + 1;
    eventually("ten calls that are over", || {
        counted(&world, |counter| counter.answers.iter().sum()) == 10
    });
    let over = counted(&world, |counter| counter.would_limit);
    assert!((10 - most..=7).contains(&over), "{over}");
    assert_eq!(counted(&world, |counter| counter.accepted), 10);
    assert_eq!(counted(&world, |counter| counter.rate_limited), 0);
    let series = "keyward_would_limit_total{tier=\"growth\",limit=\"account\"}";
    assert_eq!(metric(&world, series), over as f64);
    let path = world.folder().join("access.log");
    eventually("as many lines that say so", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        text.matches("\"wouldLimit\":\"account\"").count() as u64 == over
            && text.matches("\"wouldLimit\":null").count() as u64 == 10 - over
    });
}

#[test]
fn a_bound_on_calls_at_once_in_shadow_lets_them_through_too() {
    let (world, key) = world(|_| {}, &format!("{ROUTE}max_in_flight = 1\nmode = \"shadow\"\n"));
    let under_way = begin(&world, "/delay/20000", &key);
    for _ in 0..3 {
        assert_eq!(world.get("/", &[("x-api-key", key.text())]).status, 200);
    }
    let series = "keyward_would_limit_total{tier=\"growth\",limit=\"route\"}";
    eventually("three that would have been refused", || {
        metric(&world, series) == 3.0
    });
    drop(under_way);
    eventually("an empty route", || held(&world) == 0);
    assert_eq!(counted(&world, |counter| counter.would_limit), 3);
}

#[test]
fn a_route_in_shadow_still_holds_to_the_quota() {
    let (world, key) = world(
        |account| account.annual_limit = 2,
        &format!("{ROUTE}mode = \"shadow\"\n"),
    );
    let statuses: Vec<_> = (0..4)
        .map(|_| world.get("/", &[("x-api-key", key.text())]).status)
        .collect();
    assert_eq!(statuses, [200, 200, 403, 403]);
}

#[test]
fn a_tier_in_shadow_refuses_for_no_limit_at_all() {
    let (world, key) = world(
        |account| {
            account.limit_mode = LimitMode::Shadow;
            account.annual_limit = 2;
            account.limits = Limits {
                rate: 1,
                burst: 1_000,
            };
        },
        &format!("{ROUTE}max_in_flight = 1\n"),
    );
    let under_way = begin(&world, "/delay/20000", &key);
    for _ in 0..4 {
        assert_eq!(world.get("/", &[("x-api-key", key.text())]).status, 200);
    }
    // The first limit that would have refused is the one that is told.
    let series = "keyward_would_limit_total{tier=\"growth\",limit=\"route\"}";
    eventually("four over the bound", || metric(&world, series) == 4.0);
    drop(under_way);
    eventually("an empty route", || held(&world) == 0);
    assert_eq!(world.get("/", &[("x-api-key", key.text())]).status, 200);
    let series = "keyward_would_limit_total{tier=\"growth\",limit=\"quota\"}";
    eventually("one over the quota", || metric(&world, series) == 1.0);
    assert_eq!(counted(&world, |counter| counter.accepted), 6);
    assert_eq!(counted(&world, |counter| counter.quota_refused), 0);
}

const PUBLIC: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"none\"\nper_address = { rate = 1, burst = 3 }\n";

#[test]
fn a_public_route_may_bound_the_calls_of_each_client_address() {
    let unbounded = "[[routes]]\npath = \"/open\"\nupstream = \"api\"\nrequire = \"none\"\n";
    let trusted = "trusted_proxies = [\"127.0.0.1\"]\n";
    let world = World::start(&Keys::new(), &format!("{trusted}{PUBLIC}{unbounded}"));
    let call = |client: &str| world.get("/", &[("x-forwarded-for", client)]);
    let passed = (0..10).filter(|_| call("192.0.2.1").status == 200).count();
    assert!((3..=5).contains(&passed), "{passed}");
    let refused = call("192.0.2.1");
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"));
    let details = refused.json()["error"]["details"].clone();
    assert_eq!(
        (&details["limit"], &details["ratePerSecond"], &details["burst"]),
        (&"route".into(), &1.into(), &3.into())
    );
    assert_eq!(refused.header("x-ratelimit-limit"), Some("3"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"route\";q=3;w=3"));
    assert!(refused.header("retry-after").is_some());
    // Another client has its own bucket, and another route none.
    assert_eq!(call("192.0.2.2").status, 200);
    assert_eq!(
        world.get("/open", &[("x-forwarded-for", "192.0.2.1")]).status,
        200
    );
}

#[test]
fn a_public_call_that_no_upstream_gets_gives_back_what_it_took() {
    let public = PUBLIC.replace("\"api\"", "\"nobody\"");
    let world = World::start(&Keys::new(), &public);
    for _ in 0..8 {
        assert_eq!(world.get("/", &[]).code(), "UPSTREAM_UNAVAILABLE");
    }
}

#[test]
fn a_bound_on_addresses_in_shadow_only_counts() {
    let world = World::start(&Keys::new(), &format!("{PUBLIC}mode = \"shadow\"\n"));
    for _ in 0..10 {
        assert_eq!(world.get("/", &[]).status, 200);
    }
    let series = "keyward_would_limit_total{tier=\"none\",limit=\"route\"}";
    eventually("calls that would have been refused", || {
        metric(&world, series) >= 4.0
    });
}
