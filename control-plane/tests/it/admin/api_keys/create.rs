//! `POST /admin/customers/{customer_id}/api-keys`

use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use super::{keys, one, rotate, shown};
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn a_key_is_shown_once_and_then_only_its_mask() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({
        "name": " ci ", "environment": "test", "expires_at": "2099-01-01",
        "allowed_ips": ["192.0.2.1/32", "192.0.2.1", "2001:DB8::/32"],
    });
    let made = plane.account_key(&company.id, &body).await;
    let plain = made["api_key"].as_str().unwrap();
    assert!(plain.starts_with("pk_test_"));
    let expected = json!({
        "api_key_id": made["api_key_id"], "customer_id": company.id, "name": "ci", "environment": "test",
        "status": "active", "mask": format!("{}…{}", &plain[..10], &plain[plain.len() - 3..]),
        "allowed_ips": ["192.0.2.1", "2001:db8::/32"], "created_at": made["created_at"],
        "expires_at": "2099-01-01T00:00:00Z", "revoked_at": null, "last_used_at": null,
    });
    assert_eq!(shown(&plane, &company, &made).await, expected);
    let bare = plane
        .admin("POST", keys(&company))
        .send()
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&bare["environment"], &bare["name"]),
        (&json!("production"), &Value::Null)
    );
    // Customer keys are not listed here.
    plane.customer(&company.live, "Uni").await;
    let listed = plane.admin("GET", keys(&company)).send().await.expect(200);
    assert!(!listed.text.contains("ck_") && !listed.text.contains(plain));
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (body, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(101)}), "name"),
        (json!({"environment": "staging"}), "environment"),
        (json!({"expires_at": "yesterday"}), "expires_at"),
        (json!({"expires_at": "2020-01-01"}), "expires_at"),
        (json!({"allowed_ips": []}), "allowed_ips"),
        (json!({"allowed_ips": "192.0.2.1"}), "allowed_ips"),
        (json!({"allowed_ips": ["192.0.2.1", 7]}), "allowed_ips"),
        (json!({"allowed_ips": ["192.0.2.9/24"]}), "allowed_ips"),
    ] {
        let answer = plane.admin("POST", keys(&company)).json(&body).send().await;
        let answer = answer.expect_error(400, "invalid_request").json();
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains(&format!("`{field}`")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_suspended_account_gets_no_new_keys() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let key = plane.account_key(&company.id, &json!({})).await;
    let account = format!("/admin/customers/{}", company.id);
    plane
        .admin("PUT", account)
        .json(&json!({"status": "suspended"}))
        .send()
        .await
        .expect(200);
    plane
        .admin("POST", keys(&company))
        .json(&json!({}))
        .send()
        .await
        .expect_error(409, "conflict");
    rotate(&plane, &company, &key, &json!({}))
        .await
        .expect_error(409, "conflict");
    plane
        .admin("DELETE", one(&company, &key))
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_makes_no_second_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let make = || {
        plane
            .admin("POST", keys(&company))
            .header("idempotency-key", "k")
            .json(&json!({"name": "ci"}))
            .send()
    };
    let (first, repeat) = (make().await.expect(201), make().await.expect(201));
    assert_eq!(first.text, repeat.text);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    let listed = plane.admin("GET", keys(&company)).send().await.expect(200).json();
    assert_eq!(listed["api_keys"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_key_for_nobody_is_404() {
    let plane = Plane::start().await;
    let paths = [crate::admin::NOBODY, "x"].map(|id| format!("/admin/customers/{id}/api-keys"));
    crate::admin::leads_nowhere(&plane, "POST", &paths).await;
}

#[tokio::test]
async fn an_expiry_is_a_date_or_an_instant_with_its_offset() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (sent, shown) in [
        ("2099-01-19", "2099-01-19T00:00:00Z"),
        ("2099-01-19T10:30:00Z", "2099-01-19T10:30:00Z"),
        ("2099-01-19T10:30:00+02:00", "2099-01-19T08:30:00Z"),
    ] {
        let key = plane.account_key(&company.id, &json!({"expires_at": sent})).await;
        assert_eq!(key["expires_at"], shown, "{sent}");
    }
    let never = plane.account_key(&company.id, &json!({"expires_at": null})).await;
    assert_eq!(never["expires_at"], Value::Null);
    for bad in ["2099-01-19T10:30:00", "19.01.2099", "", "2099-13-01"] {
        let refused = plane
            .admin("POST", keys(&company))
            .json(&json!({"expires_at": bad}));
        refused.send().await.expect_error(400, "invalid_request");
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
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/api-keys",
        least: Role::Operator,
        allow: &["GET", "HEAD", "POST"],
    }
}
