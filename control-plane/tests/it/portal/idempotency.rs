//! `Idempotency-Key` on POST.

use std::time::Duration;

use serde_json::json;

use crate::plane::{Answer, Plane};

async fn create(plane: &Plane, account_key: &str, idempotency_key: &str, name: &str) -> Answer {
    let call = plane.call("POST", "/customers").key(account_key);
    call.header("idempotency-key", idempotency_key)
        .json(&json!({"name": name}))
        .send()
        .await
}

async fn total(plane: &Plane, key: &str) -> serde_json::Value {
    let list = plane.call("GET", "/customers").key(key).send().await;
    list.expect(200).json()["total"].clone()
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_does_nothing() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let first = create(&plane, &company.live, "key-1", "Uni").await.expect(201);
    assert!(first.header("idempotent-replayed").is_none());
    let repeat = create(&plane, &company.live, "key-1", "Uni").await.expect(201);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeat.text, first.text);
    for kept in [
        "content-type",
        "location",
        "keyward-revision",
        "keyward-propagation",
    ] {
        assert_eq!(repeat.header(kept), first.header(kept), "{kept}");
    }
    assert_ne!(repeat.header("x-request-id"), first.header("x-request-id"));
    // `/v1` is the same endpoint.
    let call = plane
        .call("POST", "/v1/customers")
        .key(&company.live)
        .header("idempotency-key", "key-1");
    let same = call.json(&json!({"name": "Uni"})).send().await.expect(201);
    assert_eq!(same.text, first.text);
    assert_eq!(total(&plane, &company.live).await, 1);
    // A rotation is made once too.
    let path = format!("/customers/{}/rotate-key", first.json()["id"].as_str().unwrap());
    let rotate = || {
        plane
            .call("POST", &path)
            .key(&company.live)
            .header("idempotency-key", "key-1")
            .send()
    };
    let rotated = rotate().await.expect(200);
    assert_eq!(rotate().await.expect(200).text, rotated.text);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    create(&plane, &company.live, "key-1", "Uni").await.expect(201);
    create(&plane, &company.live, "key-1", "Other")
        .await
        .expect_code(409, "CONFLICT");
    // Bodies are compared as bytes.
    let call = plane
        .call("POST", "/customers")
        .key(&company.live)
        .header("idempotency-key", "key-1");
    call.raw("{ \"name\": \"Uni\" }")
        .send()
        .await
        .expect_code(409, "CONFLICT");
    // Another credential's key is another key.
    create(&plane, &company.test, "key-1", "Other").await.expect(201);
    assert_eq!(total(&plane, &company.live).await, 1);
}

#[tokio::test]
async fn of_many_at_once_one_acts_and_the_rest_wait_or_repeat() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let calls = (0..10).map(|_| create(&plane, &company.live, "key-1", "Uni"));
    let answers = futures_util::future::join_all(calls).await;
    let mut acted = 0;
    for answer in answers {
        match answer.status.as_u16() {
            201 if answer.header("idempotent-replayed").is_none() => acted += 1,
            201 => {}
            409 => assert!(
                answer
                    .expect_code(409, "CONFLICT")
                    .header("retry-after")
                    .is_some()
            ),
            other => panic!("{other}"),
        }
    }
    assert_eq!(acted, 1);
    assert_eq!(total(&plane, &company.live).await, 1);
}

#[tokio::test]
async fn refusals_are_kept_for_a_day_like_every_answer() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let taken = plane.customer(&company.live, "Uni").await;
    create(&plane, &company.live, "key-1", "Uni")
        .await
        .expect_code(409, "CONFLICT");
    let path = format!("/customers/{}", taken["id"].as_str().unwrap());
    plane
        .call("DELETE", path)
        .key(&company.live)
        .send()
        .await
        .expect(204);
    let kept = create(&plane, &company.live, "key-1", "Uni").await.expect(409);
    assert_eq!(kept.header("idempotent-replayed"), Some("true"));
    plane.advance(Duration::from_secs(24 * 3_600 + 1));
    create(&plane, &company.live, "key-1", "Uni").await.expect(201);
}

#[tokio::test]
async fn a_malformed_key_is_refused() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for bad in ["", "with space", &"x".repeat(256)] {
        create(&plane, &company.live, bad, "Uni")
            .await
            .expect_invalid("Idempotency-Key");
    }
    create(&plane, &company.live, &"x".repeat(255), "Uni")
        .await
        .expect(201);
    // Only POST looks at it.
    let call = plane
        .call("GET", "/customers")
        .key(&company.live)
        .header("idempotency-key", "with space");
    call.send().await.expect(200);
}
