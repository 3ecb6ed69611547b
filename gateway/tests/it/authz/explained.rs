//! What is refused to somebody who asks can be looked up like any other refusal.

use keyward_contract::{KeyKind, KeyState, Limits};
use serde_json::{Value, json};

use super::{Envoy, check, forward_auth, question, send, validate};
use crate::explain::{explained, refused_at};
use crate::fixture::{Keys, World};

const ROUTES: &str = "\
    [[routes]]\nname = \"both\"\npath = \"/both\"\nupstream = \"api\"\n\
    [[routes]]\nname = \"root\"\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";

const BAD_CUSTOMER: &str =
    "authorise: the customer key, if any, is a living one of this account and environment";

#[test]
fn a_refusal_is_explained_whoever_asked_about_the_call() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |key| key.state = KeyState::Revoked);
    let world = World::start(&keys, ROUTES);
    let envoy = Envoy::connect(&world);
    let headers = |id| {
        [
            ("x-api-key", key.text()),
            ("x-customer-key", customer.text()),
            ("x-request-id", id),
        ]
    };
    let answer = forward_auth(&world, "/both/x?secret=1", &headers("of-auth"));
    assert_eq!(answer.status, 403);
    let verdict = envoy.verdict(&world, check("GET", "/both/x?secret=1", &headers("of-envoy")));
    assert_eq!(verdict.status, 403);
    let asked = json!({
        "account_key": key.text(), "customer_key": customer.text(), "route": "both", "client_ip": "192.0.2.7",
    });
    let told = validate(&world, &asked).json();
    assert_eq!(told["status"], 403);

    let of_headers = json!({ "account": "x-api-key", "customer": "x-customer-key" });
    let of_members = json!({ "account": "account_key", "customer": "customer_key" });
    for (id, endpoint, method, client, sources) in [
        ("of-auth", "forward_auth", "GET", "127.0.0.1", &of_headers),
        ("of-envoy", "ext_authz", "GET", "127.0.0.1", &of_headers),
        (
            told["requestId"].as_str().unwrap(),
            "validate",
            "POST",
            "192.0.2.7",
            &of_members,
        ),
    ] {
        let refusal = explained(&world, id);
        assert_eq!(refused_at(&refusal), BAD_CUSTOMER);
        assert_eq!(
            (&refusal["status"], &refusal["code"], &refusal["endpoint"]),
            (&json!(403), &json!("FORBIDDEN"), &json!(endpoint))
        );
        assert_eq!(
            (&refusal["method"], &refusal["client"]),
            (&json!(method), &json!(client))
        );
        assert_eq!(refusal["route"]["name"], "both");
        assert_eq!(&refusal["credentials"], sources);
        assert_eq!(refusal["caller"]["keyId"], key.record.id.to_string());
        assert_eq!(refusal["accepted"], false);
        let text = refusal.to_string();
        for secret in [key.text(), customer.text(), "secret"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn a_limit_is_told_with_the_cost_that_was_asked_for() {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.limits = Limits { rate: 1, burst: 10 });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTES);
    let asked = json!({ "account_key": key.text(), "cost": 7 });
    assert_eq!(validate(&world, &asked).json()["allowed"], true);
    let told = validate(&world, &asked).json();
    assert_eq!(told["code"], "RATE_LIMITED");
    let refusal = explained(&world, told["requestId"].as_str().unwrap());
    assert_eq!(
        (&refusal["limits"]["needed"], &refusal["route"]["cost"]),
        (&json!(7), &json!(7))
    );
    assert_eq!(refusal["refusedBy"]["limit"]["burst"], 10);
}

#[test]
fn a_question_that_can_not_be_read_is_explained_as_such() {
    let world = World::start(&Keys::new(), ROUTES);
    let id = "x-request-id: r-1\r\n\r\n";
    let no_target = "GET /auth HTTP/1.1\r\nhost: keyward\r\n";
    let cases = [
        (400, format!("{no_target}{id}")),
        (
            413,
            format!(
                "POST /v1/validate HTTP/1.1\r\nhost: keyward\r\ncontent-type: application/json\r\n\
                 content-length: 70000\r\nconnection: close\r\n{id}{}",
                "x".repeat(70_000)
            ),
        ),
        (
            415,
            format!("POST /v1/validate HTTP/1.1\r\nhost: keyward\r\ncontent-length: 2\r\n{id}{{}}"),
        ),
        (
            404,
            question("GET", "/", &[("x-request-id", "r-1"), ("x-original-host", "a")])
                .replace("/auth", "/elsewhere"),
        ),
    ];
    for (number, (status, request)) in cases.iter().enumerate() {
        let id = format!("r-{number}");
        let answer = send(&world, &request.replace("r-1", &id));
        assert_eq!(answer.status, *status);
        if *status == 404 {
            // That is no question about a call.
            assert_eq!(world.admin(&format!("/explain/{id}")).status, 404);
            continue;
        }
        let refusal = explained(&world, &id);
        assert_eq!(
            refused_at(&refusal),
            "parse: the head can be read in one way only"
        );
        assert_eq!(
            (&refusal["status"], &refusal["caller"]),
            (&json!(status), &Value::Null)
        );
    }
}
