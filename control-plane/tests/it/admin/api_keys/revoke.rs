//! `DELETE /admin/customers/{customer_id}/api-keys/{api_key_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::{one, rotate, shown, status_of};
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn a_revoked_key_is_dead_and_the_others_are_not() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let key = plane.account_key(&company.id, &json!({})).await;
    for _ in 0..2 {
        let answer = plane
            .admin("DELETE", one(&company, &key))
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(
            (&answer["api_key_id"], &answer["status"]),
            (&key["api_key_id"], &json!("revoked"))
        );
    }
    assert_eq!(status_of(&plane, &key).await, 401);
    plane
        .call("GET", "/customers")
        .key(&company.live)
        .send()
        .await
        .expect(200);
    let dead = shown(&plane, &company, &key).await;
    assert_eq!(dead["status"], "revoked");
    assert!(dead["revoked_at"].is_string());
    rotate(&plane, &company, &key, &json!({}))
        .await
        .expect_error(409, "conflict");
    let unknown = json!({"api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"});
    plane
        .admin("DELETE", one(&company, &unknown))
        .send()
        .await
        .expect_error(404, "not_found");
    let other = plane.company("Other").await;
    plane
        .admin("DELETE", one(&other, &key))
        .send()
        .await
        .expect_error(404, "not_found");
}

#[tokio::test]
async fn a_key_that_is_not_there_or_anothers_is_404() {
    let plane = Plane::start().await;
    let (mine, other) = (plane.company("Acme").await, plane.company("Other").await);
    let key = plane.account_key(&mine.id, &json!({})).await;
    let id = key["api_key_id"].as_str().unwrap();
    let nobody = crate::admin::NOBODY;
    let paths = [
        (mine.id.as_str(), nobody),
        (&mine.id, "x"),
        (&other.id, id),
        (nobody, id),
        ("x", id),
    ]
    .map(|(account, key)| format!("/admin/customers/{account}/api-keys/{key}"));
    crate::admin::leads_nowhere(&plane, "DELETE", &paths).await;
    assert_eq!(status_of(&plane, &key).await, 200);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "DELETE",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/api-keys/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Operator,
        allow: &["DELETE", "PATCH"],
    }
}
