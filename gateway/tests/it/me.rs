//! `GET /.well-known/keyward/me`: what the holder of a key is told, and that asking costs nothing.

use keyward_contract::{AccountStatus, Environment, Grant, KeyKind, KeyState, Limits, UnixMillis};
use serde_json::{Value, json};

use crate::fixture::{Answer, Keys, World, allowed};

const ME: &str = "/.well-known/keyward/me";

fn now_ms() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// The answer with what depends on the time of day taken out, after a look at it.
#[track_caller]
fn steady(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut body = answer.json();
    for limit in body["limits"].as_array_mut().unwrap() {
        let reset = limit.as_object_mut().unwrap().remove("reset").unwrap();
        let ahead = reset.as_i64().unwrap() - now_ms() / 1_000;
        assert!((0..=1_000).contains(&ahead), "{reset}");
    }
    if let Some(quota) = body["quota"].as_object_mut() {
        let resets_at = quota.remove("resetsAt").unwrap();
        assert!(
            resets_at.as_str().unwrap().ends_with("-01-01T00:00:00.000Z"),
            "{resets_at}"
        );
    }
    body
}

#[test]
fn the_holder_of_keys_is_told_what_they_are_and_how_their_limits_stand() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.annual_limit = 1_000;
        account.grants = vec![Grant {
            at: UnixMillis(now_ms()),
            validations: 10,
        }];
        account.limits = Limits { rate: 1, burst: 200 };
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |key| {
        key.expires_at = Some(UnixMillis(4_000_000_000_000));
        key.rotated_at = Some(UnixMillis(1_768_819_200_000));
        key.customer_limits = Some(Limits { rate: 1, burst: 20 });
    });
    let world = World::start(&keys, "");
    let credentials = [("x-api-key", key.text()), ("x-customer-key", customer.text())];
    for _ in 0..3 {
        assert_eq!(world.get("/", &credentials).status, 200);
    }

    let answer = world.get(ME, &credentials);
    let customer_key = json!({
        "id": customer.record.id,
        "expiresAt": "2096-10-02T07:06:40.000Z",
        "rotation": {"since": "2026-01-19T10:40:00.000Z", "endsAt": "2096-10-02T07:06:40.000Z"},
    });
    let mut expected = json!({
        "account": {"id": account.id},
        "environment": {"kind": "production", "id": account.production_environment},
        "key": {"id": key.record.id, "expiresAt": null, "rotation": null},
        "customer": {"id": customer.record.customer, "key": customer_key},
        "tier": "growth",
        "apiVersion": "2026-11-01",
        "limits": [
            {"limit": "account", "ratePerSecond": 1, "burst": 200, "remaining": 197},
            {"limit": "customer", "ratePerSecond": 1, "burst": 20, "remaining": 17},
        ],
        "quota": {"limit": 1010, "used": 3, "remaining": 1007},
    });
    assert_eq!(steady(&answer), expected);
    // Like every answer to an identified caller.
    assert_eq!(answer.header("x-ratelimit-limit"), Some("20"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("17"));
    assert_eq!(answer.header("deprecation"), Some("@1768819200"));
    assert!(answer.header("x-request-id").is_some());

    // The account key alone, although every route wants a customer too.
    let alone = world.get(ME, &[("authorization", &format!("Bearer {}", key.text()))]);
    expected["customer"] = Value::Null;
    expected["limits"].as_array_mut().unwrap().pop();
    assert_eq!(steady(&alone), expected);

    // The customer key alone.
    let alone = world.get(ME, &[("x-customer-key", customer.text())]);
    let alone = steady(&alone);
    assert_eq!(alone["key"], customer_key);
    assert_eq!(alone["customer"]["id"], json!(customer.record.customer));
    assert_eq!(alone["limits"][1]["remaining"], 17);
}

#[test]
fn keys_of_the_test_environment_have_no_quota() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test;
        key.api_version = String::new();
    });
    let route = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nenvironments = [\"production\"]";
    let world = World::start(&keys, route);
    let body = steady(&world.get(ME, &[("x-api-key", key.text())]));
    assert_eq!(
        body["environment"],
        json!({"kind": "test", "id": account.test_environment})
    );
    assert_eq!(
        (&body["quota"], &body["apiVersion"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(body["limits"][0]["remaining"], 200);
}

#[test]
fn asking_is_free_and_answered_when_every_limit_is_used_up() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.annual_limit = 2;
        account.limits = Limits { rate: 1, burst: 3 };
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    let credentials = [("x-api-key", key.text())];
    for _ in 0..50 {
        assert_eq!(world.get(ME, &credentials).status, 200);
    }
    assert_eq!(world.upstream_calls(), 0);
    assert_eq!(steady(&world.get(ME, &credentials))["limits"][0]["remaining"], 3);
    while world.get("/", &credentials).status == 200 {}
    assert_eq!(world.get("/", &credentials).code(), "QUOTA_EXCEEDED");
    assert_eq!(world.upstream_calls(), 2);
    let body = steady(&world.get(ME, &credentials));
    assert_eq!(body["quota"], json!({"limit": 2, "used": 2, "remaining": 0}));

    // Nothing of it is usage: neither a validation nor a refusal.
    let ledger = &world.gateway.as_ref().unwrap().shared().ledger;
    let report = ledger.report(1_000).unwrap();
    let sum = |field: fn(&keyward_contract::feed::UsageCounter) -> u64| -> u64 {
        report.counters.iter().map(field).sum()
    };
    assert_eq!(sum(|counter| counter.accepted), 2);
    assert_eq!(
        sum(|counter| counter.rate_limited + counter.quota_refused + counter.auth_refused),
        2
    );
}

#[test]
fn whoever_may_not_call_is_not_told_either() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let suspended = keys.account(|account| account.status = AccountStatus::Suspended);
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let revoked = keys.key(KeyKind::Account, &account, |key| key.state = KeyState::Revoked);
    let elsewhere = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.0/24"]);
    });
    let suspended_key = keys.key(KeyKind::Account, &suspended, |_| {});
    let foreign = keys.key(KeyKind::Customer, &suspended, |_| {});
    let unknown = Keys::new().key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, "");
    let check = |headers: &[(&str, &str)], status: u16, code: &str| {
        let answer = world.get(ME, headers);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{headers:?}"
        );
    };
    check(&[], 401, "UNAUTHORIZED");
    check(&[("x-api-key", "nonsense")], 401, "INVALID_API_KEY");
    check(&[("x-api-key", unknown.text())], 401, "INVALID_API_KEY");
    check(&[("x-api-key", revoked.text())], 401, "EXPIRED_API_KEY");
    check(&[("x-api-key", suspended_key.text())], 403, "ACCOUNT_SUSPENDED");
    check(&[("x-api-key", elsewhere.text())], 403, "IP_NOT_ALLOWED");
    check(&[("x-customer-key", "nonsense")], 403, "FORBIDDEN");
    check(
        &[("x-api-key", key.text()), ("x-customer-key", foreign.text())],
        403,
        "FORBIDDEN",
    );
    check(
        &[("x-api-key", key.text()), ("authorization", "Bearer other")],
        400,
        "INVALID_INPUT",
    );
}

#[test]
fn it_goes_before_every_route_and_is_there_to_be_read() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"=/.well-known/keyward/me\"\nupstream = \"api\"\nrequire = \"none\"",
    );
    let credentials = [("x-api-key", key.text())];
    // However it is spelled.
    for target in [
        ME,
        "/.well-known/keyward/me?x=1",
        "/a/../.well-known/%6beyward/./me",
    ] {
        let answer = world.get(target, &credentials);
        assert_eq!(answer.json()["tier"], "growth", "{target}");
    }
    // What is beside it is a route's matter.
    for target in [
        "/.well-known/keyward",
        "/.well-known/keyward/me/",
        "/.well-known/keyward/Me",
    ] {
        assert_eq!(
            world.get(target, &credentials).code(),
            "ROUTE_NOT_FOUND",
            "{target}"
        );
    }
    let request = format!(
        "POST {ME} HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: 2\r\n\r\n{{}}",
        key.text()
    );
    let answer = world.call(&request);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    let head = world.head_alone(&format!(
        "HEAD {ME} HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\nconnection: close\r\n\r\n",
        key.text()
    ));
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}
