//! `DELETE /admin/admin-keys/{admin_key_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn the_last_owner_can_not_be_revoked() {
    let plane = Plane::start().await;
    let listed = plane
        .admin("GET", "/admin/admin-keys")
        .send()
        .await
        .expect(200)
        .json();
    let path = |key: &Value| format!("/admin/admin-keys/{}", key["admin_key_id"].as_str().unwrap());
    let last = path(&listed["admin_keys"][0]);
    plane
        .admin("DELETE", &last)
        .send()
        .await
        .expect_error(409, "conflict");
    let body = json!({"name": "second", "role": "owner"});
    plane
        .admin("POST", "/admin/admin-keys")
        .json(&body)
        .send()
        .await
        .expect(201);
    plane.admin("DELETE", &last).send().await.expect(200);
}

#[tokio::test]
async fn an_admin_key_that_is_not_there_is_404() {
    let plane = Plane::start().await;
    let paths = [crate::admin::NOBODY, "x"].map(|id| format!("/admin/admin-keys/{id}"));
    crate::admin::leads_nowhere(&plane, "DELETE", &paths).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "DELETE",
        path: "/admin/admin-keys/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Owner,
        allow: &["DELETE"],
    }
}
