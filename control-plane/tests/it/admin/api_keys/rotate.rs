//! `POST /admin/customers/{customer_id}/api-keys/{api_key_id}/rotate`

use keyward_control_plane::domain::admin::Role;
use std::time::Duration;

use keyward_contract::{KeyState, Record};
use serde_json::{Value, json};

use super::{rotate, shown, status_of};
use crate::admin::Door;
use crate::plane::Plane;
use crate::promises::change;

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
    .map(|(account, key)| format!("/admin/customers/{account}/api-keys/{key}/rotate"));
    crate::admin::leads_nowhere(&plane, "POST", &paths).await;
    assert_eq!(status_of(&plane, &key).await, 200);
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
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/api-keys/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/rotate",
        least: Role::Operator,
        allow: &["POST"],
    }
}
