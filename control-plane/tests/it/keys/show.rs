//! `GET /keys/{keyId}`

use serde_json::{Value, json};

use super::{get, make, path, person, plane, set};

#[tokio::test]
async fn a_key_made_by_an_operator_is_shown_without_its_text() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let body = json!({"name": "ci", "allowed_ips": ["192.0.2.1"]});
    let made = plane.account_key(&company.id, &body).await;
    let shown = get(
        &plane,
        &company.live,
        format!("/keys/{}", made["api_key_id"].as_str().unwrap()),
    )
    .await;
    insta::assert_json_snapshot!(shown, {
        ".id" => "[id]", ".companyId" => "[account]",
        ".apiVersionUpdatedAt" => "[time]", ".createdAt" => "[time]", ".updatedAt" => "[time]",
    }, @r#"
    {
      "id": "[id]",
      "companyId": "[account]",
      "userId": null,
      "key": null,
      "whitelistedIPs": [
        "192.0.2.1"
      ],
      "apiVersion": "2027-02-01",
      "apiVersionUpdatedAt": "[time]",
      "apiVersionDowngradeNotAllowedAfter": null,
      "status": "active",
      "description": "ci",
      "createdAt": "[time]",
      "updatedAt": "[time]",
      "deletedAt": null
    }
    "#);
    assert_eq!(shown["id"], made["api_key_id"]);
}

#[tokio::test]
async fn an_inactive_key_is_shown_too_without_its_text() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let disabled = make(&plane, &company.live, &ada, json!({})).await;
    set(&plane, disabled["id"].as_str().unwrap(), "state", "disabled").await;
    let deleted = make(&plane, &company.live, &ada, json!({})).await;
    let call = plane.call("DELETE", path(&deleted)).key(&company.live);
    call.send().await.expect(204);
    let revoked = make(&plane, &company.live, &ada, json!({})).await;
    let on_surface_2 = format!(
        "/admin/customers/{}/api-keys/{}",
        company.id,
        revoked["id"].as_str().unwrap()
    );
    plane.admin("DELETE", on_surface_2).send().await.expect(200);
    for (key, is_deleted) in [(disabled, false), (deleted, true), (revoked, false)] {
        let shown = get(&plane, &company.live, path(&key)).await;
        assert_eq!(
            (&shown["status"], &shown["key"]),
            (&json!("inactive"), &Value::Null)
        );
        assert_eq!(shown["deletedAt"].is_string(), is_deleted, "{shown}");
        assert!(!is_deleted || shown["deletedAt"] == shown["updatedAt"]);
    }
}

#[tokio::test]
async fn a_rotated_key_keeps_all_and_its_successor_is_shown_too() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let fields = json!({"description": "ci", "whitelistedIPs": ["192.0.2.1"]});
    let old = make(&plane, &company.live, &ada, fields).await;
    let call = plane.call("PUT", path(&old)).key(&company.live);
    let old = call.json(&json!({"apiVersion": "2026-05-01"})).send().await;
    let old = old.expect(200).json();
    let rotate = format!(
        "/admin/customers/{}/api-keys/{}/rotate",
        company.id,
        old["id"].as_str().unwrap()
    );
    let call = plane.admin("POST", rotate).json(&json!({"grace_seconds": 60}));
    let rotated = call.send().await.expect(200).json();
    let mut new = get(
        &plane,
        &company.live,
        format!("/keys/{}", rotated["api_key_id"].as_str().unwrap()),
    )
    .await;
    assert_eq!(new["key"], rotated["api_key"]);
    assert_ne!(new["key"], old["key"]);
    let during = get(&plane, &company.live, path(&old)).await;
    assert_eq!(
        (&during["status"], &during["key"]),
        (&json!("active"), &old["key"])
    );
    for own in ["id", "key", "createdAt", "updatedAt"] {
        new[own] = old[own].clone();
    }
    assert_eq!(new, old);
    plane.advance(std::time::Duration::from_secs(61));
    let over = get(&plane, &company.live, path(&old)).await;
    assert_eq!(
        (&over["status"], &over["key"]),
        (&json!("inactive"), &Value::Null)
    );
}
