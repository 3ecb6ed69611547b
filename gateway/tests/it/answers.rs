//! What every answer carries, and the forms that errors come in.

use keyward_contract::{KeyKind, KeyState};

use crate::fixture::{Keys, World};

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
