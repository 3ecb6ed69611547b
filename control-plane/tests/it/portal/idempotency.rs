//! `Idempotency-Key` on POST.

use std::time::Duration;

use serde_json::json;

use crate::plane::{Answer, Plane, break_writes, mend_writes};

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

/// What a process that was killed leaves behind: before its change was committed, and after.
#[tokio::test]
async fn no_crash_lets_a_call_act_twice() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    create(&plane, &company.live, "acted", "Acted").await.expect(201);
    create(&plane, &company.live, "broken", "Broken")
        .await
        .expect(201);
    let broken = plane.customer(&company.live, "Unrelated").await;
    let database = crate::promises::beside(&plane).await;
    for (key, status) in [("acted", Some(0i64)), ("broken", None)] {
        sqlx::query("UPDATE idempotency SET answer = NULL, status = $1 WHERE key = $2")
            .bind(status)
            .bind(key)
            .execute(&database)
            .await
            .unwrap();
    }
    // Both count as running until their process is known to be gone.
    for (key, name) in [("acted", "Acted"), ("broken", "Broken")] {
        let running = create(&plane, &company.live, key, name)
            .await
            .expect_code(409, "CONFLICT");
        assert!(running.header("retry-after").is_some());
    }
    drop(database);
    let plane = plane.restart().await;
    let lost = create(&plane, &company.live, "acted", "Acted")
        .await
        .expect_code(409, "CONFLICT");
    assert!(lost.header("retry-after").is_none());
    assert!(lost.json()["error"]["message"].as_str().unwrap().contains("lost"));
    assert_eq!(total(&plane, &company.live).await, 3);
    // The other one is made again, and says itself that its name is taken.
    create(&plane, &company.live, "broken", "Broken")
        .await
        .expect_code(409, "CONFLICT");
    let path = format!("/customers/{}", broken["id"].as_str().unwrap());
    plane
        .call("GET", path)
        .key(&company.live)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn a_call_that_failed_on_our_side_can_be_made_again() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let database = crate::promises::beside(&plane).await;
    // The second: that it acted is noted in the change itself, or it doesn't act.
    for (write, when) in [
        (("INSERT", "changes"), None),
        (("UPDATE", "idempotency"), Some("NEW.status = 0")),
    ] {
        break_writes(&database, "broken", write, when).await;
        let failed = create(&plane, &company.live, "key-1", "Uni").await;
        failed.expect_code(500, "INTERNAL_ERROR");
        mend_writes(&database, "broken", write.1).await;
        assert_eq!(total(&plane, &company.live).await, 0);
    }
    let made = create(&plane, &company.live, "key-1", "Uni").await.expect(201);
    assert!(made.header("idempotent-replayed").is_none());
}

#[tokio::test]
async fn no_key_stays_taken_by_a_call_whose_end_could_not_be_noted_at_once() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let database = crate::promises::beside(&plane).await;
    break_writes(&database, "unchanged", ("INSERT", "changes"), None).await;
    break_writes(&database, "unforgotten", ("DELETE", "idempotency"), None).await;
    let answers = Some("NEW.answer IS NOT NULL");
    break_writes(&database, "unkept", ("UPDATE", "idempotency"), answers).await;
    create(&plane, &company.live, "failed", "Uni")
        .await
        .expect_code(500, "INTERNAL_ERROR");
    create(&plane, &company.live, "failed", "Uni")
        .await
        .expect_code(409, "CONFLICT");
    mend_writes(&database, "unchanged", "changes").await;
    let first = create(&plane, &company.live, "answered", "Other")
        .await
        .expect(201);
    create(&plane, &company.live, "answered", "Other")
        .await
        .expect_code(409, "CONFLICT");
    mend_writes(&database, "unforgotten", "idempotency").await;
    mend_writes(&database, "unkept", "idempotency").await;
    plane
        .eventually(async || create(&plane, &company.live, "failed", "Uni").await.status == 201)
        .await;
    plane
        .eventually(async || {
            let repeat = create(&plane, &company.live, "answered", "Other").await;
            repeat.text == first.text && repeat.header("idempotent-replayed") == Some("true")
        })
        .await;
    assert_eq!(total(&plane, &company.live).await, 2);
}
