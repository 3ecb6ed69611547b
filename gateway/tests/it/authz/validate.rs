//! `/v1/validate`, as applications ask.

use keyward_contract::{KeyKind, Limits};
use serde_json::{Value, json};

use super::{send, validate};
use crate::fixture::{Keys, World, allowed};

#[test]
fn the_answer_says_who_calls_and_how_every_limit_stands() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1,
            burst: 2_000,
        };
        account.annual_limit = 10;
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let world = World::start(&keys, "");
    let asked = json!({ "account_key": key.text(), "customer_key": customer.text(), "cost": 1_500 });
    let mut told = validate(&world, &asked).json();
    assert_eq!(told["rate_limit"]["remaining"].as_u64().unwrap() / 10, 50);
    for changing in ["reset", "remaining"] {
        assert!(told["rate_limit"][changing].take().is_u64());
    }
    assert!(told["requestId"].take().is_string() && told["quota"]["resets_at"].take().is_string());
    let record = &customer.record;
    assert_eq!(
        told,
        json!({
            "allowed": true, "code": "ACCEPTED", "message": "the call may pass",
            "account": account.id, "environment": account.production_environment, "tier": "growth",
            "key_id": key.record.id, "api_version": "2026-11-01", "customer": record.customer,
            "quota": {"limit": 10, "used": 1, "remaining": 9, "resets_at": null},
            "rate_limit": {"bucket": "customer", "limit": 2000, "remaining": null, "reset": null},
            "requestId": null,
        })
    );
    let refused = validate(&world, &asked).json();
    assert_eq!(
        (&refused["allowed"], &refused["code"], &refused["status"]),
        (&json!(false), &json!("RATE_LIMITED"), &json!(429))
    );
    assert!(refused["retry_after_seconds"].as_u64().unwrap() > 900);
    assert_eq!(refused["account"], json!(account.id));
    for text in [key.text(), customer.text()] {
        assert!(!refused.to_string().contains(text));
    }
}

#[test]
fn a_caller_that_is_not_identified_is_not_described() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let dead = keys.key(KeyKind::Account, &account, |key| {
        key.state = keyward_contract::KeyState::Revoked
    });
    let world = World::start(&keys, "");
    let told = validate(&world, &json!({ "account_key": dead.text() })).json();
    assert_eq!(told["code"], "EXPIRED_API_KEY");
    for absent in ["account", "key_id", "rate_limit", "quota"] {
        assert_eq!(told[absent], Value::Null, "{absent}");
    }
}

#[test]
fn a_route_is_named_or_is_the_only_one_or_the_one_of_the_root() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.7"])
    });
    let route = |path: &str, more: &str| {
        format!("[[routes]]\npath = \"{path}\"\nupstream = \"api\"\nrequire = \"account\"\n{more}\n")
    };
    let asked = |route: Value, client: Value| json!({ "account_key": key.text(), "client_ip": client, "route": route });
    let here = || json!("192.0.2.7");
    let only = World::start(&keys, &route("/x", "name = \"x\""));
    assert_eq!(
        validate(&only, &asked(Value::Null, here())).json()["allowed"],
        true
    );
    assert_eq!(
        validate(&only, &asked(json!("x"), here())).json()["allowed"],
        true
    );
    // Without an address it is that of who asks.
    assert_eq!(
        validate(&only, &asked(Value::Null, Value::Null)).json()["code"],
        "IP_NOT_ALLOWED"
    );
    let unknown = validate(&only, &asked(json!("y"), here()));
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "INVALID_INPUT"));
    drop(only);
    let rooted = World::start(
        &keys,
        &[route("/x", "environments = [\"test\"]"), route("/", "")].concat(),
    );
    assert_eq!(
        validate(&rooted, &asked(Value::Null, here())).json()["allowed"],
        true
    );
    assert_eq!(
        validate(&rooted, &asked(json!("/x"), here())).json()["code"],
        "INVALID_API_KEY"
    );
    drop(rooted);
    // A root that is only read is the root too; a name that several routes have names none of them.
    let routes = [
        route("/", "methods = [\"GET\"]"),
        route("/x", "methods = [\"GET\"]"),
        route("/x", "methods = [\"PUT\"]"),
    ];
    let read = World::start(&keys, &routes.concat());
    assert_eq!(
        validate(&read, &asked(Value::Null, here())).json()["allowed"],
        true
    );
    assert_eq!(validate(&read, &asked(json!("/x"), here())).status, 400);
    drop(read);
    let rootless = World::start(&keys, &[route("/x", ""), route("/y", "")].concat());
    assert_eq!(validate(&rootless, &asked(Value::Null, here())).status, 400);
}

#[test]
fn a_question_that_does_not_come_is_told_so_in_time() {
    let world = World::start(&Keys::new(), "[timeouts]\nrequest_body_idle = \"200ms\"\n");
    let answer = send(
        &world,
        "POST /v1/validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{",
    );
    assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_INPUT"));
}

#[test]
fn a_question_that_can_not_be_read_is_refused_like_any_request() {
    let world = World::start(&Keys::new(), "");
    let post = |content_type: &str, body: &str| {
        let length = body.len();
        let answer = send(
            &world,
            &format!(
                "POST /v1/validate HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
            ),
        );
        (answer.status, answer.code())
    };
    let json = "application/json";
    assert_eq!(post(json, "nonsense"), (400, "INVALID_INPUT".into()));
    assert_eq!(post(json, "{\"cost\":0}"), (400, "INVALID_INPUT".into()));
    assert_eq!(post("text/plain", "{}"), (415, "UNSUPPORTED_MEDIA_TYPE".into()));
    assert_eq!(
        post("application/grpc", "{}"),
        (415, "UNSUPPORTED_MEDIA_TYPE".into())
    );
    let large = format!("{{\"more\":\"{}\"}}", "a".repeat(65_536));
    assert_eq!(post(json, &large), (413, "PAYLOAD_TOO_LARGE".into()));
    assert_eq!(post("Application/JSON; charset=utf-8", "{}").0, 200);
    let got = send(&world, "GET /v1/validate HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    let lost = send(&world, "GET /v1/other HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((lost.status, lost.code().as_str()), (404, "ROUTE_NOT_FOUND"));
}
