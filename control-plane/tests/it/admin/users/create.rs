//! `POST /admin/customers/{customer_id}/users`

use serde_json::{Value, json};

use super::{UNKNOWN, audited, cancel, expect_invalid, make, post, users};
use crate::plane::Plane;

const SUB: &str = "7f1d2c3b-4a59-4687-9768-5a4b3c2d1e0f";

#[tokio::test]
async fn a_user_is_made_with_all_that_was_said_of_it() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({
        "name": "  Ada Lovelace ", "email": " ada@acme.example ", "sub": SUB.to_uppercase(),
        "claims": ["Issuer_Admin", "somebody else's"], "permissions": ["company.keys:write", "company.keys:list"],
        "unknown": [1],
    });
    let answer = post(&plane, &company.id, &body).await.expect(201);
    let made = answer.json();
    insta::assert_json_snapshot!(made, {".user_id" => "[id]", ".created_at" => "[time]"}, @r#"
    {
      "user_id": "[id]",
      "sub": "7f1d2c3b-4a59-4687-9768-5a4b3c2d1e0f",
      "name": "Ada Lovelace",
      "email": "ada@acme.example",
      "claims": [
        "Issuer_Admin",
        "somebody else's"
      ],
      "permissions": [
        "company.keys:list",
        "company.keys:write"
      ],
      "status": "active",
      "created_at": "[time]"
    }
    "#);
    assert_eq!(made["user_id"].as_str().unwrap().len(), 36);
    assert_eq!(
        made["created_at"].as_str().unwrap().len(),
        "2026-01-19T10:30:00Z".len()
    );
    let event = audited(&plane, "user.created").await;
    assert_eq!(event["target"], json!({"kind": "user", "id": made["user_id"]}));
    assert_eq!(event["customer_id"], company.id);
    assert_eq!(event["before"], Value::Null);
    assert_eq!(event["after"]["claims"], made["claims"]);
    assert_eq!(event["after"]["sub"], SUB);
}

#[tokio::test]
async fn what_may_be_left_out_is_made_up_or_empty() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let least = json!({"name": "Ada", "email": "ada@acme.example"});
    let nulls = json!({
        "name": "Ada", "email": "ada@acme.example", "sub": null, "claims": null, "permissions": null,
    });
    let mut subs = Vec::new();
    for body in [least, nulls] {
        let made = post(&plane, &company.id, &body).await.expect(201).json();
        assert_eq!((&made["claims"], &made["permissions"]), (&json!([]), &json!([])));
        subs.push(made["sub"].as_str().unwrap().to_owned());
    }
    assert!(subs[0].len() == 36 && subs[0] != subs[1]);
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "Ada", "email": "ada@acme.example", "claims": []});
        body[field] = value;
        body
    };
    let claims = |count: usize| -> Value { (0..count).map(|n| n.to_string()).collect() };
    for (field, value) in [
        ("name", Value::Null),
        ("name", json!("")),
        ("name", json!(7)),
        ("name", json!("x".repeat(201))),
        ("name", json!("a\u{0}b")),
        ("email", Value::Null),
        ("email", json!("nobody")),
        ("email", json!(["a@b.co"])),
        ("claims", json!("Issuer_Dev")),
        ("claims", json!(["Issuer_Dev", 7])),
        ("claims", json!([""])),
        ("claims", json!(["x".repeat(101)])),
        ("claims", json!(["a\u{0}b"])),
        ("claims", json!(["Issuer_Dev", "Issuer_Dev"])),
        ("claims", claims(51)),
        ("permissions", json!(["company.keys:all"])),
        ("permissions", json!("company.keys:list")),
        ("permissions", json!({"list": true})),
        ("sub", json!("nobody")),
        ("sub", json!("7f1d2c3b4a59468797685a4b3c2d1e0f")),
        ("sub", json!(7)),
    ] {
        expect_invalid(post(&plane, &company.id, &with(field, value)).await, field);
    }
    expect_invalid(
        post(&plane, &company.id, &json!({"email": "a@b.co"})).await,
        "name",
    );
    expect_invalid(post(&plane, &company.id, &json!({"name": "Ada"})).await, "email");
    expect_invalid(plane.admin("POST", users(&company.id)).send().await, "body");
    for (field, value) in [
        ("name", json!("é".repeat(200))),
        ("claims", json!(["x".repeat(100)])),
        ("claims", claims(50)),
    ] {
        post(&plane, &company.id, &with(field, value)).await.expect(201);
    }
}

#[tokio::test]
async fn a_sub_is_one_person_s_over_all_accounts_for_all_time() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let body = json!({"name": "Ada", "email": "ada@acme.example", "sub": SUB});
    let made = post(&plane, &acme.id, &body).await.expect(201).json();
    for account in [&acme.id, &other.id] {
        post(&plane, account, &body).await.expect_error(409, "conflict");
    }
    let path = super::one(&acme.id, &made);
    plane.admin("DELETE", path).send().await.expect(204);
    for account in [&acme.id, &other.id] {
        post(&plane, account, &body).await.expect_error(409, "conflict");
    }
}

#[tokio::test]
async fn of_many_at_once_with_one_sub_one_is_made() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({"name": "Ada", "email": "ada@acme.example", "sub": SUB});
    let calls = (0..6).map(|_| post(&plane, &company.id, &body));
    let answers = futures_util::future::join_all(calls).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn only_accounts_that_are_there_get_users() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({"name": "Ada", "email": "ada@acme.example"});
    post(&plane, UNKNOWN, &body).await.expect_error(404, "not_found");
    post(&plane, "acme", &body).await.expect_error(404, "not_found");
    let path = format!("/admin/customers/{}", company.id);
    let suspended = json!({"status": "suspended"});
    plane.admin("PUT", path).json(&suspended).send().await.expect(200);
    make(&plane, &company.id, &[]).await;
    cancel(&plane, &company.id).await;
    post(&plane, &company.id, &body)
        .await
        .expect_error(409, "conflict");
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_makes_no_second_user() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let make = |name: &str| {
        plane
            .admin("POST", users(&company.id))
            .header("idempotency-key", "k")
            .json(&json!({"name": name, "email": "ada@acme.example"}))
            .send()
    };
    let (first, repeat) = (make("Ada").await.expect(201), make("Ada").await.expect(201));
    assert_eq!(first.text, repeat.text);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    make("Bea").await.expect_error(409, "conflict");
    let listed = plane.admin("GET", users(&company.id)).send().await.expect(200);
    assert_eq!(listed.json()["users"].as_array().unwrap().len(), 1);
}
