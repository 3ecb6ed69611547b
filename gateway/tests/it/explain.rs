//! `/explain/<request id>`: why a call was refused.

use std::io::Write;

use keyward_contract::{AccountStatus, Environment, KeyKind, KeyState, Limits};
use serde_json::Value;

use crate::fixture::{Keys, World, allowed, get, read_answer};

const ROUTES: &str = "\
    [[routes]]\npath = \"/both\"\nupstream = \"api\"\n\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\nenvironments = [\"production\"]\nmax_body = 10\n\
    [[routes]]\npath = \"/customer\"\nupstream = \"api\"\nrequire = \"customer-only\"\n\
    [[routes]]\npath = \"/away\"\nupstream = \"nobody\"\nrequire = \"account\"\ncost = 3\n\
    [[routes]]\npath = \"/public\"\nupstream = \"nobody\"\nrequire = \"none\"\n";

/// The one refusal that is held about an id.
#[track_caller]
pub(crate) fn explained(world: &World, id: &str) -> Value {
    let answer = world.admin(&format!("/explain/{id}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["requestId"], id);
    let refusals = told["refusals"].as_array().unwrap();
    assert_eq!(refusals.len(), 1, "{told}");
    refusals[0].clone()
}

/// The question that was answered with no, having made sure that all before were answered with yes.
#[track_caller]
pub(crate) fn refused_at(refusal: &Value) -> String {
    let steps = refusal["steps"].as_array().unwrap();
    let at = steps
        .iter()
        .position(|step| step["outcome"] == "refused")
        .unwrap();
    for (index, step) in steps.iter().enumerate() {
        let expected = match index.cmp(&at) {
            std::cmp::Ordering::Less => "passed",
            std::cmp::Ordering::Equal => "refused",
            std::cmp::Ordering::Greater => "not reached",
        };
        assert_eq!(step["outcome"], expected, "{refusal}");
    }
    format!(
        "{}: {}",
        steps[at]["step"].as_str().unwrap(),
        steps[at]["check"].as_str().unwrap()
    )
}

/// A path, header fields, and the check that refuses it.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c str);

#[test]
fn each_refusal_is_told_by_the_check_that_said_no() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let revoked = keys.key(KeyKind::Account, &account, |key| key.state = KeyState::Revoked);
    let of_test = keys.key(KeyKind::Account, &account, |key| {
        key.environment = Environment::Test
    });
    let elsewhere = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.0/24"]);
    });
    let customer_elsewhere = keys.key(KeyKind::Customer, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.0/24"]);
    });
    let dead_customer = keys.key(KeyKind::Customer, &account, |key| key.state = KeyState::Revoked);
    let suspended = keys.account(|account| account.status = AccountStatus::Suspended);
    let suspended = keys.key(KeyKind::Account, &suspended, |_| {});
    let spent = keys.account(|account| account.annual_limit = 1);
    let spent = keys.key(KeyKind::Account, &spent, |_| {});
    let world = World::start(&keys, ROUTES);

    assert_eq!(world.get("/", &[("x-api-key", spent.text())]).status, 200);
    let (key, body) = (("x-api-key", key.text()), ("content-length", "11"));
    let cases: &[Case<'_>] = &[
        ("/..", &[key], "parse: the head can be read in one way only"),
        ("/a%2fb", &[key], "parse: the head can be read in one way only"),
        (
            "/",
            &[key, ("authorization", "Bearer other")],
            "identify: no credential is ambiguous",
        ),
        ("/", &[], "identify: an account key was sent"),
        (
            "/",
            &[("authorization", "Bearer nonsense")],
            "identify: the account key is well-formed and known",
        ),
        (
            "/",
            &[("x-api-key", revoked.text())],
            "authorise: the account key is neither revoked, deleted, disabled nor expired",
        ),
        (
            "/",
            &[("x-api-key", of_test.text())],
            "authorise: the route serves the key's environment",
        ),
        (
            "/",
            &[("x-api-key", suspended.text())],
            "authorise: the account is active and its contract holds",
        ),
        (
            "/",
            &[("x-api-key", elsewhere.text())],
            "authorise: the key may be used from this address",
        ),
        (
            "/both",
            &[key],
            "authorise: a customer key was sent, where it is required",
        ),
        (
            "/both",
            &[key, ("x-customer-key", dead_customer.text())],
            "authorise: the customer key, if any, is a living one of this account and environment",
        ),
        (
            "/both",
            &[key, ("x-customer-key", customer_elsewhere.text())],
            "authorise: the customer key, if any, may be used from this address",
        ),
        (
            "/customer",
            &[("x-customer-key", customer_elsewhere.text())],
            "authorise: the key may be used from this address",
        ),
        (
            "/",
            &[("x-api-key", spent.text())],
            "limit: the yearly quota has a validation left",
        ),
        (
            "/",
            &[key, body],
            "forward: the request body is well-formed and within the route's limit",
        ),
        (
            "/away",
            &[key],
            "forward: an endpoint of the upstream can be reached",
        ),
        (
            "/public",
            &[],
            "forward: an endpoint of the upstream can be reached",
        ),
    ];
    for (number, (path, headers, expected)) in cases.iter().enumerate() {
        let id = format!("r-{number}");
        let mut headers = headers.to_vec();
        headers.push(("x-request-id", &id));
        let answer = world.get(path, &headers);
        let refusal = explained(&world, &id);
        assert_eq!(refused_at(&refusal), *expected, "{path}");
        assert_eq!(refusal["status"], answer.status);
        assert_eq!(refusal["code"], answer.code());
        assert_eq!(refusal["message"], answer.json()["error"]["message"]);
    }
    for (target, method, expected) in [
        ("/", "TRACE", "route: there is a route for host, path and method"),
        ("/", "BREW", "identify: an account key was sent"),
    ] {
        let request = get(target, &[("x-request-id", "method")]).replacen("GET", method, 1);
        world.call(&request);
        let refusals = world.admin("/explain/method").json();
        assert_eq!(refused_at(&refusals["refusals"][0]), expected);
        assert_eq!(refusals["refusals"][0]["method"], method);
    }
}

#[test]
fn it_says_who_called_with_which_header_and_never_the_key() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |key| key.state = KeyState::Disabled);
    let world = World::start(&keys, ROUTES);
    let bearer = format!("Bearer {}", key.text());
    let answer = world.get(
        "/both/x?secret=1",
        &[("authorization", &bearer), ("x-customer-key", customer.text())],
    );
    let id = answer.header("x-request-id").unwrap();
    let page = world.admin(&format!("/explain/{id}"));
    let text = String::from_utf8_lossy(&page.body);
    for secret in [key.text(), customer.text(), "secret"] {
        assert!(!text.contains(secret), "{text}");
    }
    let refusal = explained(&world, id);
    assert_eq!(refusal["route"]["name"], "/both");
    assert_eq!(refusal["credentials"]["account"], "authorization");
    assert_eq!(refusal["credentials"]["customer"], "x-customer-key");
    assert_eq!(refusal["caller"]["keyId"], key.record.id.to_string());
    assert_eq!(refusal["caller"]["account"], account.id.to_string());
    assert_eq!(refusal["caller"]["environment"], "production");
    assert_eq!(refusal["client"], "127.0.0.1");
    assert_eq!(refusal["revision"], 1);
    assert_eq!(refusal["accepted"], false);
    assert!(refusal["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_limit_is_told_with_the_numbers_of_every_bucket() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits { rate: 1, burst: 4 };
        account.annual_limit = 1_000;
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTES);
    let headers: &[(&str, &str)] = &[("x-api-key", key.text()), ("x-request-id", "r-1")];
    let mut stream = world.connect();
    // What never reached an upstream is given back, so the calls that spend are those to the one that is there.
    for _ in 0..3 {
        stream.write_all(get("/", &headers[..1]).as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    assert_eq!(world.get("/away", headers).status, 429);
    let refusal = explained(&world, "r-1");
    assert_eq!(
        refused_at(&refusal),
        "limit: every bucket has the tokens, and the route a place"
    );
    let account = &refusal["limits"]["account"];
    assert_eq!(
        (&account["burst"], &account["ratePerSecond"]),
        (&4.into(), &1.into())
    );
    assert!(account["remaining"].as_u64().unwrap() < 3);
    assert_eq!(refusal["limits"]["needed"], 3);
    assert_eq!(refusal["limits"]["quota"]["used"], 3);
    assert_eq!(refusal["refusedBy"]["limit"]["limit"], "account");
    assert!(refusal["refusedBy"]["retryAfterMillis"].as_u64().unwrap() > 0);
}

#[test]
fn an_id_that_was_sent_again_shows_every_refusal_and_one_that_was_not_refused_is_404() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTES);
    // Connections of their own, so that both workers have some.
    for _ in 0..12 {
        assert_eq!(world.get("/", &[("x-request-id", "again")]).status, 401);
    }
    let refusals = world.admin("/explain/again").json()["refusals"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(refusals, 12);
    let accepted: &[(&str, &str)] = &[("x-api-key", key.text()), ("x-request-id", "fine")];
    assert_eq!(world.get("/", accepted).status, 200);
    for id in ["fine", "never", "", "a%20b"] {
        let answer = world.admin(&format!("/explain/{id}"));
        assert_eq!(answer.status, 404, "{id}");
        assert!(answer.json()["message"].is_string());
    }
}
