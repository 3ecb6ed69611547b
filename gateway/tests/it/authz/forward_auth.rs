//! `/auth`, as proxies ask.

use keyward_contract::{Environment, KeyKind, Limits};

use super::{forward_auth, send};
use crate::fixture::{Keys, World, allowed};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"";

#[test]
fn who_may_pass_is_named_as_the_upstream_would_be_told() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let world = World::start(&keys, "");
    let headers = [
        ("x-api-key", key.text()),
        ("x-customer-key", customer.text()),
        ("keyward-account", "forged"),
        ("x-request-id", "mine-1"),
    ];
    let asked = forward_auth(&world, "/a", &headers);
    let proxied = world.get("/a", &headers);
    assert_eq!((asked.status, asked.body.len()), (200, 0));
    let identity = [
        "keyward-account",
        "keyward-environment",
        "keyward-tier",
        "keyward-key-id",
        "keyward-api-version",
        "keyward-customer",
    ];
    for name in identity {
        assert_eq!(
            asked.header(name).map(str::to_owned),
            proxied.upstream_saw(name),
            "{name}"
        );
    }
    assert_eq!(
        asked.header("keyward-account"),
        Some(account.id.to_string().as_str())
    );
    assert_eq!(asked.header("x-request-id"), Some("mine-1"));
    assert_eq!(
        asked.header("ratelimit-policy"),
        proxied.header("ratelimit-policy")
    );
    assert!(!asked.headers.iter().any(|(_, value)| value.contains(key.text())));
}

#[test]
fn a_public_route_names_nobody() {
    let keys = Keys::new();
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"none\"\nper_address = { rate = \"1/s\", burst = 2 }",
    );
    let headers = [("keyward-account", "forged")];
    let asked = forward_auth(&world, "/a", &headers);
    assert_eq!((asked.status, asked.header("keyward-account")), (200, None));
    let statuses: Vec<_> = (0..3)
        .map(|_| forward_auth(&world, "/a", &headers).status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn the_client_is_the_right_most_entry_that_no_trusted_proxy_wrote_about_another() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.7"])
    });
    // The proxy that asks need not be listed; one before it must be.
    let world = World::start(
        &keys,
        &format!("trusted_proxies = [\"198.51.100.0/24\"]\n{ROUTE}"),
    );
    let from = |forwarded_for: &str| {
        let line = match forwarded_for {
            "" => String::new(),
            text => format!("x-forwarded-for: {text}\r\n"),
        };
        send(
            &world,
            &format!(
                "GET /auth HTTP/1.1\r\nhost: api.example\r\nx-forwarded-uri: /\r\nx-api-key: {}\r\n{line}\r\n",
                key.text()
            ),
        )
        .status
    };
    assert_eq!(from("192.0.2.7"), 200);
    assert_eq!(from("203.0.113.5, 192.0.2.7"), 200);
    assert_eq!(from("192.0.2.7, 198.51.100.3"), 200);
    assert_eq!(from("192.0.2.7, 203.0.113.5"), 403);
    assert_eq!(from("192.0.2.7, nonsense"), 403);
    assert_eq!(from(""), 403);
}

#[test]
fn a_refusal_is_never_a_status_that_lets_pass_not_even_a_grpc_client_s() {
    let world = World::start(&Keys::new(), ROUTE);
    let plain = forward_auth(&world, "/", &[]);
    assert_eq!((plain.status, plain.code().as_str()), (401, "UNAUTHORIZED"));
    let grpc = forward_auth(&world, "/", &[("content-type", "application/grpc")]);
    assert_eq!((grpc.status, grpc.code().as_str()), (401, "UNAUTHORIZED"));
    let problem = forward_auth(&world, "/", &[("accept", "application/problem+json")]);
    assert_eq!(problem.json()["code"], "UNAUTHORIZED");
    // What isn't told isn't guessed.
    let nothing = send(&world, "GET /auth HTTP/1.1\r\nhost: api.example\r\n\r\n");
    assert_eq!((nothing.status, nothing.code().as_str()), (400, "INVALID_INPUT"));
    let other = send(
        &world,
        "GET /auth?statuses=apache HTTP/1.1\r\nhost: api.example\r\nx-forwarded-uri: /\r\n\r\n",
    );
    assert_eq!((other.status, other.code().as_str()), (400, "INVALID_INPUT"));
}

#[test]
fn nginx_gets_the_two_statuses_that_it_takes_and_is_told_the_true_one() {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.limits = Limits { rate: 1, burst: 1 });
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test
    });
    let world = World::start(&keys, ROUTE);
    let ask = |key: &str, target: &str| {
        let answer = send(
            &world,
            &format!(
                "GET /auth?statuses=nginx HTTP/1.1\r\nhost: api.example\r\nx-original-uri: {target}\r\nx-api-key: {key}\r\n\r\n"
            ),
        );
        let header = |name| answer.header(name).map(str::to_owned);
        (
            answer.status,
            header("keyward-status"),
            header("keyward-code"),
            header("retry-after").is_some(),
        )
    };
    assert_eq!(ask(key.text(), "/"), (200, None, None, false));
    let some = |text: &str| Some(text.to_owned());
    let limited = (0..3)
        .map(|_| ask(key.text(), "/"))
        .find(|answer| answer.0 != 200);
    assert_eq!(limited.unwrap(), (403, some("429"), some("RATE_LIMITED"), true));
    assert_eq!(ask("x", "/"), (401, some("401"), some("INVALID_API_KEY"), false));
    assert_eq!(
        ask("x", "/../x"),
        (403, some("400"), some("INVALID_INPUT"), false)
    );
}

#[test]
fn any_method_asks_and_a_connection_is_kept() {
    use std::io::Write;
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTE);
    let mut stream = super::connect(&world);
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let request = format!(
            "{method} /auth HTTP/1.1\r\nhost: api.example\r\nx-original-uri: /\r\nx-api-key: {}\r\ncontent-length: 0\r\n\r\n",
            key.text()
        );
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(crate::fixture::read_answer(&mut stream).status, 200);
    }
}
