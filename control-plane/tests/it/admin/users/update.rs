//! `PUT` and `PATCH /admin/customers/{customer_id}/users/{user_id}`

use serde_json::{Value, json};

use super::{UNKNOWN, audited, cancel, expect_invalid, make, one, users};
use crate::plane::Plane;

#[tokio::test]
async fn only_what_is_given_changes() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let mut expected = make(&plane, &company.id, &["Issuer_Dev"]).await;
    let path = one(&company.id, &expected);
    for (method, field, value) in [
        ("PUT", "name", json!("Ada King")),
        ("PATCH", "email", json!("king@acme.example")),
        ("PUT", "claims", json!(["Issuer_Admin", "Super_Dev"])),
        ("PATCH", "permissions", json!(["company.keys:list"])),
        ("PUT", "claims", json!([])),
        ("PUT", "permissions", json!([])),
        // What it is, it may be told to be.
        ("PUT", "sub", expected["sub"].clone()),
    ] {
        expected[field] = value.clone();
        let call = plane.admin(method, &path).json(&json!({field: value}));
        assert_eq!(call.send().await.expect(200).json(), expected, "{field}");
        let shown = plane.admin("GET", &path).send().await.expect(200).json();
        assert_eq!(shown, expected, "{field}");
    }
    insta::assert_json_snapshot!(
        expected,
        {".user_id" => "[id]", ".sub" => "[sub]", ".created_at" => "[time]"},
        @r#"
    {
      "user_id": "[id]",
      "sub": "[sub]",
      "name": "Ada King",
      "email": "king@acme.example",
      "claims": [],
      "permissions": [],
      "status": "active",
      "created_at": "[time]"
    }
    "#
    );
}

#[tokio::test]
async fn a_change_is_one_audit_row_and_no_change_is_none() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = make(&plane, &company.id, &["Issuer_Dev"]).await;
    let path = one(&company.id, &made);
    let put = async |body: Value| plane.admin("PUT", &path).json(&body).send().await.expect(200);
    let changed = put(json!({"claims": ["Issuer_Admin"]})).await;
    let event = audited(&plane, "user.updated").await;
    assert_eq!(event["target"], json!({"kind": "user", "id": made["user_id"]}));
    assert_eq!(event["before"]["claims"], json!(["Issuer_Dev"]));
    assert_eq!(event["after"]["claims"], json!(["Issuer_Admin"]));
    let revision = changed.header("keyward-revision");
    for same in [json!({}), json!({"name": "Ada", "claims": ["Issuer_Admin"]})] {
        let answer = put(same).await;
        assert_eq!(answer.header("keyward-revision"), revision);
    }
    assert_eq!(audited(&plane, "user.updated").await["id"], event["id"]);
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name_and_changes_nothing() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = make(&plane, &company.id, &["Issuer_Dev"]).await;
    let path = one(&company.id, &made);
    for (field, value) in [
        ("name", Value::Null),
        ("name", json!(" ")),
        ("name", json!("x".repeat(201))),
        ("email", Value::Null),
        ("email", json!("a@b")),
        ("claims", Value::Null),
        ("claims", json!(["a", "a"])),
        ("permissions", Value::Null),
        ("permissions", json!(["company.keys:List"])),
        ("sub", Value::Null),
        ("sub", json!("x")),
        ("sub", json!(UNKNOWN)),
    ] {
        let mut body = json!({"name": "Bea", "email": "bea@acme.example"});
        body[field] = value;
        expect_invalid(plane.admin("PUT", &path).json(&body).send().await, field);
    }
    expect_invalid(plane.admin("PUT", &path).send().await, "body");
    let shown = plane.admin("GET", &path).send().await.expect(200).json();
    assert_eq!(shown, made);
}

#[tokio::test]
async fn who_is_not_there_is_not_changed() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let made = make(&plane, &acme.id, &[]).await;
    for path in [
        one(&other.id, &made),
        one(UNKNOWN, &made),
        one(&acme.id, &json!({"user_id": UNKNOWN})),
        format!("{}/ada", users(&acme.id)),
    ] {
        let call = plane.admin("PUT", &path).json(&json!({"name": "Bea"}));
        call.send().await.expect_error(404, "not_found");
    }
    cancel(&plane, &acme.id).await;
    let call = plane
        .admin("PUT", one(&acme.id, &made))
        .json(&json!({"name": "Bea"}));
    call.send().await.expect_error(409, "conflict");
}
