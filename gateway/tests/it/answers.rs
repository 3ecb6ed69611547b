//! What every answer carries, and the forms that errors come in.

use keyward_contract::{AccountStatus, KeyKind, KeyState, Limits};

use crate::fixture::{Keys, World, allowed};

fn world() -> (World, String) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/api\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    (world, key.text().to_owned())
}

#[test]
fn a_well_formed_request_id_is_kept_and_any_other_replaced() {
    let (world, key) = world();
    for id in ["a", "A-b_c.9", &"x".repeat(128)] {
        let answer = world.get("/api", &[("x-api-key", &key), ("x-request-id", id)]);
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.upstream_saw("x-request-id").as_deref(), Some(id));
    }
    for id in ["", "a b", "a/b", &"x".repeat(129), "ä"] {
        let answer = world.get("/api", &[("x-api-key", &key), ("x-request-id", id)]);
        let made = answer.header("x-request-id").unwrap();
        let made = made
            .parse::<uuid::Uuid>()
            .unwrap_or_else(|error| panic!("{made}: {error}"));
        assert_eq!(made.get_version_num(), 7);
    }
}

#[test]
fn an_identified_caller_is_told_its_limits_and_nobody_else_is() {
    let (world, key) = world();
    let answer = world.get("/api", &[("x-api-key", &key)]);
    for name in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit",
        "ratelimit-policy",
    ] {
        assert!(answer.header(name).is_some(), "{name}");
    }
    assert_eq!(answer.header("x-ratelimit-limit"), Some("200"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("199"));
    assert_eq!(answer.header("via"), Some("1.1 keyward"));
    for answer in [
        world.get("/api", &[]),
        world.get("/api", &[("x-api-key", "x")]),
        world.get("/no", &[]),
    ] {
        assert!(answer.header("x-ratelimit-limit").is_none(), "{answer:?}");
    }
}

#[test]
fn a_refused_caller_is_told_its_limits_as_soon_as_it_is_identified() {
    let mut keys = Keys::new();
    let slow = Limits { rate: 1, burst: 200 };
    let account = keys.account(|account| account.limits = slow);
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let dead = keys.key(KeyKind::Account, &account, |key| key.state = KeyState::Revoked);
    let elsewhere = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.7"])
    });
    let suspended = keys.account(|account| account.status = AccountStatus::Suspended);
    let suspended = keys.key(KeyKind::Account, &suspended, |_| {});
    let over = keys.account(|account| {
        account.limits = slow;
        account.annual_limit = 1;
    });
    let over = keys.key(KeyKind::Account, &over, |_| {});
    let route =
        |path: &str, more: &str| format!("[[routes]]\npath = \"{path}\"\nupstream = \"api\"\n{more}\n");
    let routes = [
        route("/", "require = \"account\"\nmax_body = 1"),
        route("/both", ""),
        "[[routes]]\npath = \"/away\"\nupstream = \"nobody\"\nrequire = \"account\"\n".to_owned(),
    ];
    let world = World::start(&keys, &routes.concat());
    for (path, key, expected) in [
        ("/", dead.text(), (401, "EXPIRED_API_KEY", None)),
        ("/", suspended.text(), (403, "ACCOUNT_SUSPENDED", Some("200"))),
        ("/", elsewhere.text(), (403, "IP_NOT_ALLOWED", Some("200"))),
        ("/both", key.text(), (403, "FORBIDDEN", Some("200"))),
        ("/", over.text(), (200, "", Some("199"))),
        ("/", over.text(), (403, "QUOTA_EXCEEDED", Some("199"))),
        ("/away", key.text(), (503, "UPSTREAM_UNAVAILABLE", Some("200"))),
        // What it took was given back.
        ("/away", key.text(), (503, "UPSTREAM_UNAVAILABLE", Some("200"))),
    ] {
        let answer = world.get(path, &[("x-api-key", key)]);
        let told = (
            answer.status,
            &*answer.code(),
            answer.header("x-ratelimit-remaining"),
        );
        assert_eq!(told, expected);
        assert_eq!(answer.header("ratelimit-policy").is_some(), expected.2.is_some());
    }
    let lines = format!("x-api-key: {}\r\ncontent-length: 2\r\n", key.text());
    let large = world.call(&format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\nab"));
    assert_eq!(
        (large.status, large.header("x-ratelimit-remaining")),
        (413, Some("200"))
    );
}

#[test]
fn errors_come_in_the_form_that_is_asked_for() {
    let (world, _) = world();
    let plain = world.get("/api", &[("x-request-id", "r-1")]);
    assert_eq!(plain.header("content-type"), Some("application/json"));
    let body = plain.json();
    assert_eq!(
        (&body["object"], &body["error"]["requestId"]),
        (&"error".into(), &"r-1".into())
    );
    assert!(
        body["error"]["documentationUrl"]
            .as_str()
            .unwrap()
            .ends_with("/errors/unauthorized")
    );
    let problem = world.get("/api", &[("accept", "text/html, application/problem+json;q=0.9")]);
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem.json()["code"], "UNAUTHORIZED");
    let grpc = world.get("/api", &[("content-type", "application/grpc+proto")]);
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, Some("16")));
    let head = world.head_alone("HEAD /api HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 401 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn the_gateway_answers_options_asterisk_itself() {
    let (world, _) = world();
    let answer = world.call("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(answer.status, 204);
    assert!(answer.header("allow").unwrap().contains("GET"));
}

#[test]
fn a_key_in_its_rotation_grace_is_announced_as_ending() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.rotated_at = Some(keyward_contract::UnixMillis(1_768_819_200_000));
        key.expires_at = Some(keyward_contract::UnixMillis(4_000_000_000_000));
        key.state = KeyState::Active;
    });
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    let answer = world.get("/", &[("x-api-key", key.text())]);
    assert_eq!(answer.header("deprecation"), Some("@1768819200"));
    assert_eq!(answer.header("sunset"), Some("Tue, 02 Oct 2096 07:06:40 GMT"));
}
