//! `GET /admin/customers/{customer_id}/users/{user_id}`

use serde_json::json;

use super::{UNKNOWN, make, one, users};
use crate::plane::Plane;

#[tokio::test]
async fn a_user_is_shown_as_it_was_made() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = make(&plane, &company.id, &["Verifier_Dev"]).await;
    let path = one(&company.id, &made);
    let shown = plane.admin("GET", path).send().await.expect(200).json();
    assert_eq!(shown, made);
    insta::assert_json_snapshot!(
        shown,
        {".user_id" => "[id]", ".sub" => "[sub]", ".created_at" => "[time]"},
        @r#"
    {
      "user_id": "[id]",
      "sub": "[sub]",
      "name": "Ada",
      "email": "ada@acme.example",
      "claims": [
        "Verifier_Dev"
      ],
      "permissions": [],
      "status": "active",
      "created_at": "[time]"
    }
    "#
    );
}

#[tokio::test]
async fn who_is_not_of_the_account_is_not_found() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let made = make(&plane, &acme.id, &[]).await;
    let gone = make(&plane, &acme.id, &[]).await;
    plane
        .admin("DELETE", one(&acme.id, &gone))
        .send()
        .await
        .expect(204);
    for path in [
        one(&other.id, &made),
        one(UNKNOWN, &made),
        one(&acme.id, &gone),
        one(&acme.id, &json!({"user_id": UNKNOWN})),
        format!("{}/ada", users(&acme.id)),
    ] {
        plane
            .admin("GET", &path)
            .send()
            .await
            .expect_error(404, "not_found");
    }
}
