//! `/admin/customers/{customer_id}/api-keys`

use std::time::Duration;

use keyward_contract::{KeyState, Record};
use serde_json::{Value, json};

use crate::plane::{Answer, Company, Plane};
use crate::promises::change;

fn keys(company: &Company) -> String {
    format!("/admin/customers/{}/api-keys", company.id)
}

fn one(company: &Company, key: &Value) -> String {
    format!("{}/{}", keys(company), key["api_key_id"].as_str().unwrap())
}

async fn rotate(plane: &Plane, company: &Company, key: &Value, body: &Value) -> Answer {
    let path = format!("{}/rotate", one(company, key));
    plane.admin("POST", path).json(body).send().await
}

async fn shown(plane: &Plane, company: &Company, key: &Value) -> Value {
    let listed = plane.admin("GET", keys(company)).send().await.expect(200).json();
    let listed = listed["api_keys"].as_array().unwrap().iter();
    listed
        .clone()
        .find(|listed| listed["api_key_id"] == key["api_key_id"])
        .unwrap()
        .clone()
}

async fn status_of(plane: &Plane, key: &Value) -> u16 {
    let call = plane
        .call("GET", "/customers")
        .key(key["api_key"].as_str().unwrap());
    call.send().await.status.as_u16()
}

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
async fn a_rotation_without_grace_swaps_the_keys_in_one_revision() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({"name": "ci", "environment": "test", "expires_at": "2099-01-01", "allowed_ips": ["127.0.0.1"]});
    let old = plane.account_key(&company.id, &body).await;
    let answer = rotate(&plane, &company, &old, &json!({"grace_seconds": 0}))
        .await
        .expect(200);
    let new = answer.json();
    for kept in ["name", "environment", "expires_at", "allowed_ips", "customer_id"] {
        assert_eq!(new[kept], old[kept], "{kept}");
    }
    assert_eq!(new["revoked_api_key_id"], old["api_key_id"]);
    assert_ne!(new["api_key_id"], old["api_key_id"]);
    assert!(new["revokes_at"].is_string());
    assert_eq!(
        (status_of(&plane, &old).await, status_of(&plane, &new).await),
        (401, 200)
    );
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    let states: Vec<_> = records
        .iter()
        .map(|record| match record {
            Record::Key(key) => (key.id.to_string(), key.state),
            Record::Account(_) => panic!("an account was touched"),
        })
        .collect();
    let id = |key: &Value| key["api_key_id"].as_str().unwrap().to_owned();
    assert_eq!(
        states,
        [(id(&new), KeyState::Active), (id(&old), KeyState::Revoked)]
    );
}

#[tokio::test]
async fn during_grace_both_keys_work_and_then_only_the_new_one() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let old = plane.account_key(&company.id, &json!({})).await;
    let new = rotate(&plane, &company, &old, &json!({"grace_seconds": 60}))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (status_of(&plane, &old).await, status_of(&plane, &new).await),
        (200, 200)
    );
    let graced = shown(&plane, &company, &old).await;
    assert_eq!(
        (&graced["status"], &graced["expires_at"]),
        (&json!("active"), &new["revokes_at"])
    );
    assert!(new["expires_at"].is_null());
    rotate(&plane, &company, &old, &json!({}))
        .await
        .expect_error(409, "conflict");
    plane.advance(Duration::from_secs(61));
    assert_eq!(
        (status_of(&plane, &old).await, status_of(&plane, &new).await),
        (401, 200)
    );
    assert_eq!(shown(&plane, &company, &old).await["status"], "revoked");
    for bad in [json!(-1), json!(604_801), json!("60"), json!(1.5), json!(null)] {
        let answer = rotate(&plane, &company, &new, &json!({"grace_seconds": bad})).await;
        let answer = answer.expect_error(400, "invalid_request").json();
        assert!(answer["message"].as_str().unwrap().contains("grace_seconds"));
    }
    rotate(&plane, &company, &new, &json!({"grace_seconds": 604_800}))
        .await
        .expect(200);
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
