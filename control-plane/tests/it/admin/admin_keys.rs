//! `/admin/admin-keys`

use serde_json::{Value, json};

use crate::plane::Plane;

async fn entry(plane: &Plane, made: &Value) -> Value {
    let listed = plane
        .admin("GET", "/admin/admin-keys")
        .send()
        .await
        .expect(200)
        .json();
    let mut keys = listed["admin_keys"].as_array().unwrap().iter();
    keys.find(|key| key["admin_key_id"] == made["admin_key_id"])
        .unwrap()
        .clone()
}

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
        .eventually(async || self::entry(&plane, &made).await["last_used_at"].is_string())
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
