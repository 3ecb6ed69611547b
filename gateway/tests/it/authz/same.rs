//! Whoever asks, and the gateway itself, say the same of the same call.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use keyward_contract::{AccountRecord, AccountStatus, Environment, KeyKind, KeyState, Limits, UnixMillis};
use serde_json::json;

use super::{Envoy, check, forward_auth, send, validate};
use crate::accounting::counted;
use crate::cut::{put_account, put_key};
use crate::fixture::{Keys, World, allowed, get};

const ROUTES: &str = r#"
    [[routes]]
    name = "both"
    path = "/both"
    upstream = "api"
    [[routes]]
    name = "account"
    path = "/account"
    methods = ["GET"]
    upstream = "api"
    require = "account"
    [[routes]]
    name = "production"
    path = "/production"
    upstream = "api"
    require = "account"
    environments = ["production"]
    [[routes]]
    name = "customer"
    path = "/customer"
    upstream = "api"
    require = "customer-only"
    [[routes]]
    name = "public"
    path = "/public"
    upstream = "api"
    require = "none"
    [[routes]]
    name = "costly"
    path = "/costly"
    upstream = "api"
    require = "account"
    cost = 1000
"#;

/// A call, and what every way to ask says of it.
struct Row {
    route: &'static str,
    account: Option<String>,
    customer: Option<String>,
    expected: (u16, &'static str),
}

/// The rows of the decision table, on accounts of their own: so each way meets the same limits.
fn rows(keys: &mut Keys) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |route, account: Option<&str>, customer: Option<&str>, expected| {
        rows.push(Row {
            route,
            account: account.map(str::to_owned),
            customer: customer.map(str::to_owned),
            expected,
        });
    };
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1,
            // What a busy machine adds by taking long is not shown.
            burst: 100_050,
        }
    });
    let live = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let unknown = Keys::new().key(KeyKind::Account, &account, |_| {});
    let (live, customer) = (Some(live.text()), Some(customer.text()));
    add("both", live, customer, (200, ""));
    add("account", live, None, (200, ""));
    add("customer", None, customer, (200, ""));
    add("public", None, None, (200, ""));
    add("account", None, None, (401, "UNAUTHORIZED"));
    add("account", Some("nonsense"), None, (401, "INVALID_API_KEY"));
    add("account", customer, None, (401, "INVALID_API_KEY"));
    add("account", Some(unknown.text()), None, (401, "INVALID_API_KEY"));
    for state in [KeyState::Revoked, KeyState::Deleted, KeyState::Disabled] {
        let dead = keys.key(KeyKind::Account, &account, |key| key.state = state);
        add("account", Some(dead.text()), None, (401, "EXPIRED_API_KEY"));
    }
    let expired = keys.key(KeyKind::Account, &account, |key| {
        key.expires_at = Some(UnixMillis(1))
    });
    add("account", Some(expired.text()), None, (401, "EXPIRED_API_KEY"));
    let of_test = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test
    });
    add("production", Some(of_test.text()), None, (401, "INVALID_API_KEY"));
    add("both", Some(of_test.text()), None, (200, ""));
    let suspended = keys.account(|account| account.status = AccountStatus::Suspended);
    let suspended = keys.key(KeyKind::Account, &suspended, |_| {});
    add(
        "account",
        Some(suspended.text()),
        None,
        (403, "ACCOUNT_SUSPENDED"),
    );
    let here = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["127.0.0.1"])
    });
    add("account", Some(here.text()), None, (200, ""));
    let elsewhere = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.0/24"])
    });
    add("account", Some(elsewhere.text()), None, (403, "IP_NOT_ALLOWED"));
    add("both", live, None, (403, "FORBIDDEN"));
    add("both", live, live, (403, "FORBIDDEN"));
    add("customer", None, None, (403, "FORBIDDEN"));
    let gone = keys.key(KeyKind::Customer, &account, |key| key.state = KeyState::Revoked);
    add("both", live, Some(gone.text()), (403, "FORBIDDEN"));
    let metered = keys.account(|account| {
        account.annual_limit = 1;
        account.limits.rate = 1;
        account.limits.burst = 250;
    });
    let metered = keys.key(KeyKind::Account, &metered, |_| {});
    add("account", Some(metered.text()), None, (200, ""));
    add("account", Some(metered.text()), None, (403, "QUOTA_EXCEEDED"));
    let slow = keys.account(|account| {
        account.limits = Limits {
            rate: 1,
            burst: 2_500,
        }
    });
    let slow = keys.key(KeyKind::Account, &slow, |_| {});
    for _ in 0..2 {
        add("costly", Some(slow.text()), None, (200, ""));
    }
    add("costly", Some(slow.text()), None, (429, "RATE_LIMITED"));
    rows
}

/// What a caller learns: status, code, and the limit and the hundreds of what remains, which a second doesn't change.
type Told = (u16, String, Option<u64>, Option<u64>);

fn told(status: u16, code: String, header: impl Fn(&str) -> Option<String>) -> Told {
    let number = |name| header(name).map(|text| text.parse::<u64>().unwrap());
    (
        status,
        code,
        number("x-ratelimit-limit"),
        number("x-ratelimit-remaining").map(|remaining| remaining / 100),
    )
}

fn headers(row: &Row) -> Vec<(&str, &str)> {
    let account = row.account.as_deref().map(|key| ("x-api-key", key));
    account
        .into_iter()
        .chain(row.customer.as_deref().map(|key| ("x-customer-key", key)))
        .collect()
}

fn proxied(world: &World, row: &Row) -> Told {
    let answer = world.get(&format!("/{}", row.route), &headers(row));
    let code = if answer.status == 200 {
        String::new()
    } else {
        answer.code()
    };
    told(answer.status, code, |name| answer.header(name).map(str::to_owned))
}

fn at_auth(world: &World, row: &Row) -> Told {
    let answer = forward_auth(world, &format!("/{}", row.route), &headers(row));
    let code = if answer.status == 200 {
        String::new()
    } else {
        answer.code()
    };
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("www-authenticate").is_some(), answer.status == 401);
    told(answer.status, code, |name| answer.header(name).map(str::to_owned))
}

fn at_envoy(envoy: &Envoy, world: &World, row: &Row) -> Told {
    let verdict = envoy.verdict(world, check("GET", &format!("/{}", row.route), &headers(row)));
    assert_eq!(verdict.code == 0, verdict.status == 200);
    let code = if verdict.code == 0 {
        String::new()
    } else {
        verdict.code_of_refusal()
    };
    assert_eq!(
        verdict.header("www-authenticate").is_some(),
        verdict.status == 401
    );
    told(verdict.status, code, |name| {
        verdict.header(name).map(str::to_owned)
    })
}

fn at_validate(world: &World, row: &Row) -> Told {
    let answer = validate(
        world,
        &json!({
            "account_key": row.account, "customer_key": row.customer, "route": row.route, "client_ip": "127.0.0.1",
        }),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let is_allowed = json["allowed"].as_bool().unwrap();
    let (status, code) = if is_allowed {
        assert_eq!(json["code"], "ACCEPTED");
        (200, String::new())
    } else {
        (
            json["status"].as_u64().unwrap(),
            json["code"].as_str().unwrap().to_owned(),
        )
    };
    told(u16::try_from(status).unwrap(), code, |name| {
        let level = &json["rate_limit"][name.strip_prefix("x-ratelimit-").unwrap()];
        level.as_u64().map(|number| number.to_string())
    })
}

#[test]
fn whoever_asks_is_told_what_the_gateway_would_have_answered() {
    let mut keys = Keys::new();
    let sets = [(); 4].map(|()| rows(&mut keys));
    let world = World::start(&keys, ROUTES);
    let envoy = Envoy::connect(&world);
    let [by_proxy, by_auth, by_envoy, by_application] = &sets;
    for (at, row) in by_proxy.iter().enumerate() {
        let expected = proxied(&world, row);
        assert_eq!((expected.0, expected.1.as_str()), row.expected, "row {at}");
        assert_eq!(at_auth(&world, &by_auth[at]), expected, "/auth, row {at}");
        assert_eq!(
            at_envoy(&envoy, &world, &by_envoy[at]),
            expected,
            "Envoy, row {at}"
        );
        assert_eq!(
            at_validate(&world, &by_application[at]),
            expected,
            "/v1/validate, row {at}"
        );
    }
}

/// What only a head can have.
#[test]
fn a_head_that_the_gateway_refuses_is_refused_whoever_asks() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTES);
    let envoy = Envoy::connect(&world);
    let one = [("x-api-key", key.text())];
    let twice = [("x-api-key", key.text()), ("x-api-key", key.text())];
    let two = [("x-api-key", key.text()), ("authorization", "Bearer pk_live_x")];
    let long = format!("/account/{}", "a".repeat(9_000));
    for (target, headers, expected) in [
        ("/account", &twice[..], (400, "INVALID_INPUT")),
        ("/account", &two, (400, "INVALID_INPUT")),
        ("/nowhere", &one, (404, "ROUTE_NOT_FOUND")),
        ("/../account", &one, (400, "INVALID_INPUT")),
        ("/account%2Fx", &one, (400, "INVALID_INPUT")),
        ("/account/%00", &one, (400, "INVALID_INPUT")),
        ("/public/../account", &[], (401, "UNAUTHORIZED")),
        ("/public/%2e%2e/account", &[], (401, "UNAUTHORIZED")),
        (&long, &one, (414, "URI_TOO_LONG")),
    ] {
        let proxied = world.get(target, headers);
        assert_eq!((proxied.status, proxied.code().as_str()), expected, "{target}");
        let asked = forward_auth(&world, target, headers);
        assert_eq!((asked.status, asked.code().as_str()), expected, "/auth {target}");
        let verdict = envoy.verdict(&world, check("GET", target, headers));
        assert_eq!(
            (verdict.status, verdict.code_of_refusal().as_str()),
            expected,
            "Envoy {target}"
        );
    }
    let other_method = send(&world, &super::question("POST", "/account", &one));
    assert_eq!(
        (other_method.status, other_method.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let verdict = envoy.verdict(&world, check("POST", "/account", &one));
    assert_eq!(
        (verdict.status, verdict.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[test]
fn what_may_pass_is_counted_as_a_validation_once_and_what_may_not_as_refused() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1,
            burst: 3_900,
        }
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let dead = keys.key(KeyKind::Account, &account, |key| key.state = KeyState::Revoked);
    let world = World::start(&keys, ROUTES);
    let envoy = Envoy::connect(&world);
    let one = [("x-api-key", key.text())];
    let asked = json!({ "account_key": key.text(), "route": "costly" });
    assert_eq!(forward_auth(&world, "/costly", &one).status, 200);
    assert_eq!(envoy.verdict(&world, check("GET", "/costly", &one)).status, 200);
    assert_eq!(validate(&world, &asked).json()["allowed"], true);
    assert_eq!(forward_auth(&world, "/costly", &one).status, 429);
    assert_eq!(envoy.verdict(&world, check("GET", "/costly", &one)).status, 429);
    assert_eq!(validate(&world, &asked).json()["code"], "RATE_LIMITED");
    let dead = [("x-api-key", dead.text())];
    assert_eq!(forward_auth(&world, "/costly", &dead).status, 401);
    assert_eq!(envoy.verdict(&world, check("GET", "/costly", &dead)).status, 401);
    assert_eq!(counted(&world, |counter| counter.accepted), 3);
    assert_eq!(counted(&world, |counter| counter.rate_limited), 3);
    assert_eq!(counted(&world, |counter| counter.auth_refused), 2);
    assert_eq!(world.upstream_calls(), 0);
    let metrics = world.gateway.as_ref().unwrap().shared().telemetry.render();
    for line in [
        "keyward_authz_checks_total{endpoint=\"forward_auth\",decision=\"accepted\"} 1",
        "keyward_authz_checks_total{endpoint=\"ext_authz\",decision=\"rate_limited\"} 1",
        "keyward_authz_checks_total{endpoint=\"validate\",decision=\"accepted\"} 1",
        "keyward_decisions_total{decision=\"accepted\"} 3",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}

#[test]
fn a_change_that_is_in_force_is_in_every_answer_from_then_on() {
    let mut keys = Keys::new();
    let account: AccountRecord = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let other = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTES);
    let envoy = Envoy::connect(&world);
    let statuses = |key: &str| {
        let asked = json!({ "account_key": key, "route": "account" });
        let headers = [("x-api-key", key)];
        let application = validate(&world, &asked).json();
        [
            u64::from(forward_auth(&world, "/account", &headers).status),
            u64::from(envoy.verdict(&world, check("GET", "/account", &headers)).status),
            application["status"].as_u64().unwrap_or(200),
        ]
    };
    assert_eq!(statuses(key.text()), [200; 3]);
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    assert_eq!(statuses(key.text()), [401; 3]);
    assert_eq!(statuses(other.text()), [200; 3]);
    put_account(&world, &account, |account| {
        account.status = AccountStatus::Suspended
    });
    assert_eq!(statuses(other.text()), [403; 3]);
}

#[test]
fn a_place_among_the_calls_in_flight_is_held_for_the_question_alone() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\nmax_in_flight = 1",
    );
    let headers = [("x-api-key", key.text())];
    for _ in 0..5 {
        assert_eq!(forward_auth(&world, "/", &headers).status, 200);
    }
    let shared = world.gateway.as_ref().unwrap().shared();
    crate::cut::eventually("no place is held", || {
        shared.limiter.route_calls().counters() == 0
    });
}

#[test]
fn a_key_in_its_rotation_grace_is_announced_as_ending_whoever_asks() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.rotated_at = Some(UnixMillis(1_768_819_200_000));
        key.expires_at = Some(UnixMillis(4_000_000_000_000));
    });
    let world = World::start(&keys, ROUTES);
    let headers = [("x-api-key", key.text())];
    let expected = (Some("@1768819200"), Some("Tue, 02 Oct 2096 07:06:40 GMT"));
    let asked = forward_auth(&world, "/account", &headers);
    assert_eq!((asked.header("deprecation"), asked.header("sunset")), expected);
    let verdict = Envoy::connect(&world).verdict(&world, check("GET", "/account", &headers));
    assert_eq!(
        (verdict.header("deprecation"), verdict.header("sunset")),
        expected
    );
}

#[test]
fn a_question_beyond_the_calls_that_may_be_in_flight_is_refused() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let route = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"";
    let world = World::start(&keys, &format!("{route}\n[bounds]\nconcurrent_requests = 2\n"));
    let headers = [("x-api-key", key.text())];
    let envoy = Envoy::connect(&world);
    // One call for each of the two workers: full then.
    let mut under_way = Vec::new();
    while under_way.len() < 2 {
        under_way.extend(hang(&world, &headers));
    }
    let asked = json!({ "account_key": key.text() });
    for _ in 0..4 {
        let answer = forward_auth(&world, "/", &headers);
        assert_eq!((answer.status, answer.code().as_str()), (503, "OVERLOADED"));
        assert!(answer.header("retry-after").is_some());
        let verdict = envoy.verdict(&world, check("GET", "/", &headers));
        assert_eq!(
            (verdict.status, verdict.code_of_refusal().as_str()),
            (503, "OVERLOADED")
        );
        assert_eq!(validate(&world, &asked).json()["code"], "OVERLOADED");
    }
    assert_eq!(counted(&world, |counter| counter.accepted), 2);
    drop(under_way);
    crate::cut::eventually("it answers again", || {
        (0..8).all(|_| forward_auth(&world, "/", &headers).status == 200)
    });
}

/// A call that the upstream does not answer for long; `None` when its worker had no place for it.
fn hang(world: &World, headers: &[(&str, &str)]) -> Option<TcpStream> {
    let before = world.upstream_calls();
    let mut stream = world.connect();
    stream.write_all(get("/delay/20000", headers).as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    loop {
        if world.upstream_calls() > before {
            return Some(stream);
        }
        if stream.peek(&mut [0]).is_ok() {
            return None;
        }
    }
}

#[test]
fn a_preflight_is_for_who_forwards_the_calls_to_answer_and_no_permission_here() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n\
         cors = { origins = [\"https://app.example\"] }",
    );
    let envoy = Envoy::connect(&world);
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "PUT"),
    ];
    let lines = super::question("OPTIONS", "/", &preflight);
    let answer = send(&world, &lines);
    assert_eq!((answer.status, answer.code().as_str()), (401, "UNAUTHORIZED"));
    let verdict = envoy.verdict(&world, check("OPTIONS", "/", &preflight));
    assert_eq!((verdict.code, verdict.status), (16, 401));
    // Whoever has a key may send one like any other call, and is charged for it.
    let [origin, method] = preflight;
    let keyed = [origin, method, ("x-api-key", key.text())];
    assert_eq!(send(&world, &super::question("OPTIONS", "/", &keyed)).status, 200);
    assert_eq!(envoy.verdict(&world, check("OPTIONS", "/", &keyed)).status, 200);
    assert_eq!(counted(&world, |counter| counter.accepted), 2);
}
