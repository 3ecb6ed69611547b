//! `POST /admin/admin-keys`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::entry;
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn an_owner_makes_lists_and_revokes_admin_keys() {
    let plane = Plane::start().await;
    let body = json!({"name": "night shift", "role": "viewer"});
    let made = plane
        .admin("POST", "/admin/admin-keys")
        .json(&body)
        .send()
        .await
        .expect(201)
        .json();
    let key = made["admin_key"].as_str().unwrap();
    assert!(key.starts_with("ak_"));
    plane
        .call("GET", "/admin/tiers")
        .admin(key)
        .send()
        .await
        .expect(200);
    let listed = plane.admin("GET", "/admin/admin-keys").send().await.expect(200);
    assert!(!listed.text.contains(key));
    let entry = entry(&plane, &made).await;
    let shown = (&entry["name"], &entry["role"], &entry["status"]);
    assert_eq!(shown, (&json!("night shift"), &json!("viewer"), &json!("active")));
    // Written down beside the call, not in its way.
    plane
        .eventually(async || super::entry(&plane, &made).await["last_used_at"].is_string())
        .await;
    let path = format!("/admin/admin-keys/{}", made["admin_key_id"].as_str().unwrap());
    for _ in 0..2 {
        let answer = plane.admin("DELETE", &path).send().await.expect(200).json();
        assert_eq!(answer["status"], "revoked");
    }
    plane
        .call("GET", "/admin/tiers")
        .admin(key)
        .send()
        .await
        .expect_error(403, "forbidden");
    for bad in [
        json!({"name": "x"}),
        json!({"name": "x", "role": "king"}),
        json!({"role": "owner"}),
    ] {
        plane
            .admin("POST", "/admin/admin-keys")
            .json(&bad)
            .send()
            .await
            .expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_takes_only_plain_json() {
    door().takes_only_plain_json().await;
}

fn door() -> Door<'static> {
    Door {
        method: "POST",
        path: "/admin/admin-keys",
        least: Role::Owner,
        allow: &["GET", "HEAD", "POST"],
    }
}
