//! `GET /admin/admin-keys`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::entry;
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn every_admin_key_is_listed_and_none_in_clear() {
    let plane = Plane::start().await;
    let body = json!({"name": "night shift", "role": "viewer"});
    let made = plane
        .admin("POST", "/admin/admin-keys")
        .json(&body)
        .send()
        .await
        .expect(201)
        .json();
    let path = format!("/admin/admin-keys/{}", made["admin_key_id"].as_str().unwrap());
    plane.admin("DELETE", path).send().await.expect(200);
    let listed = plane.admin("GET", "/admin/admin-keys").send().await.expect(200);
    assert!(!listed.text.contains(made["admin_key"].as_str().unwrap()));
    assert!(!listed.text.contains(&plane.owner));
    insta::assert_json_snapshot!(entry(&plane, &made).await, {
        ".admin_key_id" => "[id]", ".created_at" => "[at]",
    }, @r#"
    {
      "admin_key_id": "[id]",
      "name": "night shift",
      "role": "viewer",
      "status": "revoked",
      "created_at": "[at]",
      "last_used_at": null
    }
    "#);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/admin-keys",
        least: Role::Owner,
        allow: &["GET", "HEAD", "POST"],
    }
}
