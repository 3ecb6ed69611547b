//! A partner's day: an end customer is made on the portal API, calls, is rotated, limited, counted, deleted. What
//! the API has answered holds at the gateway with the very next call.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyward_harness::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::text;
use crate::stack::Stack;
use crate::wire::{Keys, Wire, call};

/// How long counted calls may take until the usage endpoints show them.
const FRESH: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_new_customer_calls_at_once_and_the_upstream_sees_who_it_is() {
    let stack = Stack::start().await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme University").await;
    let mut wire = Wire::open(stack.gateway()).await;
    let forged = format!(
        "GET /orders?page=2 HTTP/1.1\r\nHost: api.example\r\nx-api-key: {}\r\nX-Customer-Key: {}\r\n\
         Keyward-Customer: somebody\r\nX-Request-Id: call-7\r\n\r\n",
        account.key, customer.key
    );
    let heard = wire.send(&forged).await;
    assert_eq!(heard.status, 200, "{}", heard.body);
    assert_eq!(heard.header("x-request-id"), Some("call-7"));
    assert_eq!(heard.number("x-ratelimit-limit"), 1_000_000);
    let seen = heard.json();
    assert_eq!(seen["target"], "/orders?page=2");
    let headers = &seen["headers"];
    assert_eq!(headers["keyward-account"], json!([account.id]));
    assert_eq!(headers["keyward-customer"], json!([customer.id]));
    assert_eq!(headers["keyward-tier"], json!(["custom"]));
    assert_eq!(headers["keyward-key-id"], json!([account.key_id]));
    assert_eq!(headers["x-request-id"], json!(["call-7"]));
    let environment = text(&headers["keyward-environment"][0]);
    assert!(
        environment == "production" || environment.len() == 16,
        "{environment}"
    );
    for credential in ["authorization", "x-api-key", "x-customer-key"] {
        assert_eq!(headers[credential], Value::Null, "{headers}");
    }
}

#[tokio::test]
async fn a_rotated_key_is_dead_and_its_successor_alive_when_the_rotation_answers() {
    let stack = Stack::start().await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let mut wire = Wire::open(stack.gateway()).await;
    let mut old = customer.key.clone();
    for _ in 0..5 {
        assert_eq!(wire.call(keys(&account.key, &old)).await.status, 200);
        let path = format!("/customers/{}/rotate-key", customer.id);
        let rotated = stack.portal(&account.key, Method::POST, &path, Value::Null).await;
        let rotated = rotated.expect(200).in_force_at(1).json();
        let new = text(&rotated["apiKey"]);
        refused(&mut wire, stack.gateway(), keys(&account.key, &old)).await;
        assert_eq!(wire.call(keys(&account.key, &new)).await.status, 200);
        let shown = stack
            .portal(
                &account.key,
                Method::GET,
                &format!("/v1/customers/{}", customer.id),
                Value::Null,
            )
            .await;
        assert_eq!(text(&shown.expect(200).json()["apiKey"]), new);
        old = new;
    }
}

#[tokio::test]
async fn a_deleted_customer_is_refused_from_its_204_on() {
    let stack = Stack::start().await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let mut wire = Wire::open(stack.gateway()).await;
    let keys = keys(&account.key, &customer.key);
    assert_eq!(wire.call(keys).await.status, 200);
    let path = format!("/customers/{}", customer.id);
    let deleted = stack
        .portal(&account.key, Method::DELETE, &path, Value::Null)
        .await;
    deleted.expect(204).in_force_at(1);
    refused(&mut wire, stack.gateway(), keys).await;
    let gone = stack.portal(&account.key, Method::GET, &path, Value::Null).await;
    gone.expect(404);
    // The name is free again, and the one who has it now is somebody else.
    let next = stack.api.customer(&account.key, "Acme").await;
    refused(&mut wire, stack.gateway(), keys).await;
    assert_ne!((&next.id, &next.key), (&customer.id, &customer.key));
}

#[tokio::test]
async fn calls_over_the_rate_are_told_when_to_come_back_and_are_counted_as_limited() {
    const BURST: u64 = 5;
    let stack = Stack::start().await;
    let account = stack.account_with(1, 5).await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let usage_path = format!("/customers/{}/usage", customer.id);
    let mut wire = Wire::open(stack.gateway()).await;
    let (mut accepted, mut limited) = (0_u64, 0_u64);
    // One token a second comes back meanwhile, so a slow machine may get more than the burst accepted.
    while limited < 3 {
        let heard = wire.call(keys(&account.key, &customer.key)).await;
        assert_eq!(heard.number("x-ratelimit-limit"), BURST);
        if heard.status == 200 {
            accepted += 1;
            assert!(heard.number("x-ratelimit-remaining") < BURST && accepted < 100);
            continue;
        }
        limited += 1;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((heard.status, heard.code().as_str()), (429, "RATE_LIMITED"));
        assert_eq!(heard.number("x-ratelimit-remaining"), 0);
        assert!((unix..=unix + 2).contains(&heard.number("x-ratelimit-reset")));
        assert!((1..=3).contains(&heard.number("retry-after")));
        let limit = text(&heard.json()["error"]["details"]["limit"]);
        assert!(["customer", "account"].contains(&limit.as_str()), "{limit}");
        assert_eq!(
            heard.header("ratelimit"),
            Some(format!("\"{limit}\";r=0;t=1").as_str())
        );
        let policy = heard.header("ratelimit-policy").unwrap();
        assert!(
            policy.starts_with("\"account\";q=5;w=5, \"customer\";q=5;w=5"),
            "{policy}"
        );
    }
    assert!(accepted >= BURST, "only {accepted} of the burst were accepted");

    let shown = eventually(FRESH, || async {
        let shown = stack
            .portal(&account.key, Method::GET, &usage_path, Value::Null)
            .await;
        let shown = shown.expect(200).json();
        let today = &shown["usage"]["currentDay"];
        anyhow::ensure!(
            today["accepted"] == accepted && today["limited"] == limited,
            "{shown}"
        );
        Ok(shown)
    });
    let shown = shown.await.unwrap();
    assert_eq!(shown["usage"]["currentYear"]["accepted"], accepted);
    assert_eq!(shown["quota"]["used"], accepted);
    assert_eq!(shown["rateLimit"]["limit"], BURST);
    let path = format!("/customers/{}", customer.id);
    let customer = stack.portal(&account.key, Method::GET, &path, Value::Null).await;
    let customer = customer.expect(200).json();
    assert!(customer["lastUsedAt"].is_string(), "{customer}");
}

#[tokio::test]
async fn a_customer_never_calls_with_another_account_s_key() {
    let stack = Stack::start().await;
    let (first, second) = (stack.account().await, stack.account().await);
    let customer = stack.api.customer(&first.key, "Acme").await;
    let mut wire = Wire::open(stack.gateway()).await;
    refused(&mut wire, stack.gateway(), keys(&second.key, &customer.key)).await;
    assert_eq!(wire.call(keys(&first.key, &customer.key)).await.status, 200);
    let path = format!("/customers/{}", customer.id);
    let other = stack.portal(&second.key, Method::GET, &path, Value::Null).await;
    other.expect(404);
}

/// Refused with the one message that is no oracle, on a connection that has been used and on a new one.
async fn refused(wire: &mut Wire, gateway: std::net::SocketAddr, keys: Keys<'_>) {
    for heard in [wire.call(keys).await, call(gateway, keys).await] {
        assert_eq!((heard.status, heard.code().as_str()), (403, "FORBIDDEN"));
    }
}

fn keys<'k>(account: &'k str, customer: &'k str) -> Keys<'k> {
    Keys { account, customer }
}
