//! `routes.cors`: pages of other origins.

use keyward_contract::{KeyKind, KeyState, Limits};

use crate::accounting::counted;
use crate::cut::eventually;
use crate::fixture::{Answer, Keys, World, get};

const APP: &str = "https://app.example";

fn world(cors: &str) -> (World, String) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let routes = format!(
        "[[routes]]\npath = \"/api\"\nmethods = [\"GET\", \"PUT\"]\nupstream = \"api\"\nrequire = \"account\"\n\
         cors = {cors}\n\
         [[routes]]\npath = \"/away\"\nupstream = \"nobody\"\nrequire = \"account\"\ncors = {cors}\n\
         [[routes]]\npath = \"/own\"\nupstream = \"api\"\nrequire = \"none\"\n"
    );
    (World::start(&keys, &routes), key.text().to_owned())
}

fn preflight(world: &World, path: &str, origin: &str, method: &str) -> Answer {
    let lines = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "x-api-key"),
    ];
    world.call(&get(path, &lines).replacen("GET", "OPTIONS", 1))
}

#[test]
fn a_preflight_is_answered_without_a_key_and_nothing_is_counted_for_it() {
    let (world, _) = world("{ origins = [\"https://app.example\"], max_age = \"2h\" }");
    let answer = preflight(&world, "/api/x", APP, "PUT");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let says = |name: &str| answer.header(name).map(str::to_owned);
    assert_eq!(says("access-control-allow-origin").as_deref(), Some(APP));
    assert_eq!(says("access-control-allow-methods").as_deref(), Some("GET, PUT"));
    assert_eq!(
        says("access-control-allow-headers").as_deref(),
        Some("authorization, x-api-key, x-customer-key, content-type, x-request-id")
    );
    assert_eq!(says("access-control-max-age").as_deref(), Some("7200"));
    assert_eq!(says("access-control-allow-credentials"), None);
    assert_eq!(says("vary").as_deref(), Some("Origin"));
    assert!(says("x-request-id").is_some());
    assert_eq!(world.upstream_calls(), 0);
    assert_eq!(counted(&world, |counter| counter.accepted), 0);
}

#[test]
fn a_preflight_takes_no_token_no_place_and_no_validation_whoever_it_says_it_is() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits { rate: 1, burst: 3 };
        account.annual_limit = 1;
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let dead = keys.key(KeyKind::Account, &account, |key| key.state = KeyState::Revoked);
    let cors = "cors = { origins = [\"*\"] }\n";
    let world = World::start(
        &keys,
        &format!(
            "[[routes]]\npath = \"/api\"\nupstream = \"api\"\nrequire = \"account\"\nmax_in_flight = 1\n{cors}\
             [[routes]]\npath = \"/open\"\nupstream = \"api\"\nrequire = \"none\"\nper_address = {{ rate = 1, burst = 2 }}\n{cors}"
        ),
    );
    let asks = [("origin", APP), ("access-control-request-method", "GET")];
    for key in [key.text(), dead.text(), "no key"].iter().cycle().take(12) {
        for path in ["/api", "/open"] {
            let lines = [&asks[..], &[("x-api-key", key)]].concat();
            let answer = world.call(&get(path, &lines).replacen("GET", "OPTIONS", 1));
            assert_eq!(answer.status, 204, "{answer:?}");
            assert_eq!(answer.header("x-ratelimit-remaining"), None);
        }
    }
    eventually("all of them are counted as what they are", || {
        world.metric("keyward_decisions_total{decision=\"answered_at_edge\"} ") == 24.0
    });
    let answer = world.get("/api", &[("x-api-key", key.text())]);
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-remaining")),
        (200, Some("2"))
    );
    for _ in 0..2 {
        assert_eq!(world.get("/open", &[]).status, 200);
    }
    assert_eq!(world.upstream_calls(), 3);
    let all = |counter: &keyward_contract::feed::UsageCounter| {
        counter.accepted + counter.rate_limited + counter.quota_refused + counter.auth_refused
    };
    assert_eq!(counted(&world, all), 1);
}

#[test]
fn an_origin_that_is_not_listed_is_told_nothing() {
    let (world, key) = world("{ origins = [\"https://app.example\", \"https://*.example.com\"] }");
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil",
        "https://example.com",
    ] {
        let answer = preflight(&world, "/api", origin, "GET");
        assert_eq!(answer.status, 204);
        let told = answer
            .headers
            .iter()
            .find(|(name, _)| name.starts_with("access-control"));
        assert_eq!(told, None, "{origin}");
        assert_eq!(answer.header("vary"), Some("Origin"));
        let answer = world.get("/api", &[("x-api-key", &key), ("origin", origin)]);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let answer = preflight(&world, "/api", "https://a.b.example.com", "GET");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://a.b.example.com")
    );
}

#[test]
fn a_preflight_is_for_the_route_that_its_method_would_take() {
    let (world, _) = world("{ origins = [\"*\"] }");
    let answer = preflight(&world, "/api", APP, "DELETE");
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD, PUT"))
    );
    assert_eq!(preflight(&world, "/nothing", APP, "GET").status, 404);
    assert_eq!(preflight(&world, "/api%2fx", APP, "GET").status, 400);
    // A route without `cors` sees its preflights itself.
    let answer = preflight(&world, "/own", APP, "GET");
    assert_eq!(
        (answer.status, answer.json()["method"].as_str()),
        (200, Some("OPTIONS"))
    );
}

#[test]
fn an_options_that_is_no_preflight_goes_on_as_any_call() {
    let (world, _) = world("{ origins = [\"*\"] }");
    for lines in [
        &[("origin", APP)][..],
        &[("access-control-request-method", "GET")],
        &[("origin", APP), ("access-control-request-method", "b(d")],
    ] {
        let options = |path: &str| get(path, lines).replacen("GET", "OPTIONS", 1);
        assert_eq!(world.call(&options("/api")).status, 405);
        assert_eq!(world.call(&options("/away")).status, 401);
        assert_eq!(world.call(&options("/own")).status, 200);
    }
}

#[test]
fn every_answer_of_the_route_says_who_may_read_it_refusals_included() {
    let (world, key) = world(
        "{ origins = [\"https://app.example\"], credentials = true, expose = [\"x-total\"], headers = [\"*\"] }",
    );
    let with_key: &[(&str, &str)] = &[("x-api-key", &key), ("origin", APP)];
    for (path, headers, status) in [
        ("/api", with_key, 200),
        ("/api", &[("origin", APP)][..], 401),
        ("/api", &[("origin", APP), ("x-api-key", "no key")], 401),
        ("/away", with_key, 503),
    ] {
        let answer = world.get(path, headers);
        assert_eq!(answer.status, status);
        let says = |name: &str| answer.header(name).map(str::to_owned);
        assert_eq!(
            says("access-control-allow-origin").as_deref(),
            Some(APP),
            "{status}"
        );
        assert_eq!(says("access-control-allow-credentials").as_deref(), Some("true"));
        assert_eq!(says("vary").as_deref(), Some("Origin"));
        let exposed = says("access-control-expose-headers").unwrap();
        for name in [
            "x-request-id",
            "x-ratelimit-remaining",
            "ratelimit-policy",
            "x-total",
        ] {
            assert!(
                exposed.split(", ").any(|known| known == name),
                "{name}: {exposed}"
            );
        }
    }
    // A call that no page of another origin makes is told only that answers differ.
    let answer = world.get("/api", &[("x-api-key", &key)]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("vary"), Some("Origin"));
    let answer = preflight(&world, "/api", APP, "GET");
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-api-key"));
    // A route without it says nothing.
    assert_eq!(world.get("/own", &[("origin", APP)]).header("vary"), None);
}
