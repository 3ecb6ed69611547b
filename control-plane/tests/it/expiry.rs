//! Keys that expire are told of a week before, once.

use std::time::Duration;

use keyward_control_plane::operations::expiry;
use serde_json::{Value, json};

use crate::plane::{Company, Plane};
use crate::receiver::Receiver;

const DAY: Duration = Duration::from_secs(86_400);

/// A key that expires in so many days.
async fn key(plane: &Plane, company: &Company, days: i64) -> Value {
    let now = plane.running.registry().clock.now();
    let at = keyward_contract::UnixMillis(now.0 + days * 86_400_000);
    let body = json!({"name": "soon", "expires_at": at.to_rfc3339_seconds()});
    plane.account_key(&company.id, &body).await
}

async fn told(plane: &Plane) -> Vec<Value> {
    let path = "/admin/audit?action=key.expiring";
    let trail = plane.admin("GET", path).send().await.expect(200).json();
    trail["events"].as_array().unwrap().clone()
}

async fn announce(plane: &Plane) -> usize {
    expiry::announce(plane.running.registry()).await.unwrap()
}

#[tokio::test]
async fn a_key_is_told_of_once_when_it_has_a_week_left() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = json!({"url": receiver.url, "events": ["key.expiring"]});
    plane
        .admin("POST", "/admin/webhooks")
        .json(&hook)
        .send()
        .await
        .expect(201);
    let company = plane.company("Acme").await;
    let key = key(&plane, &company, 8).await;
    assert_eq!(announce(&plane).await, 0);
    plane.advance(DAY + Duration::from_secs(1));
    // The job finds out by itself.
    plane.eventually(async || told(&plane).await.len() == 1).await;
    let row = &told(&plane).await[0];
    assert_eq!(row["actor"], json!({"kind": "system", "id": "expiry"}));
    assert_eq!(row["target"], json!({"kind": "api_key", "id": key["api_key_id"]}));
    assert_eq!(row["customer_id"], company.id.as_str());
    let received = &receiver.wait_for(1).await[0].json();
    assert_eq!(received["type"], "key.expiring");
    let expected = json!({
        "api_key_id": key["api_key_id"], "customer_id": company.id, "name": "soon",
        "environment": "production", "end_customer_id": null, "mask": key["mask"], "expires_at": key["expires_at"],
    });
    assert_eq!(received["data"], expected);
    for _ in 0..3 {
        plane.advance(DAY);
        assert_eq!(announce(&plane).await, 0);
    }
    assert_eq!(told(&plane).await.len(), 1);
}

#[tokio::test]
async fn an_expiry_that_was_moved_is_told_of_anew() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let key = key(&plane, &company, 3).await;
    plane
        .eventually(async || {
            announce(&plane).await;
            told(&plane).await.len() == 1
        })
        .await;
    let mut tx = plane
        .running
        .registry()
        .store
        .begin(keyward_control_plane::store::Purpose::Other)
        .await
        .unwrap();
    sqlx::query("UPDATE api_keys SET expires_at = expires_at + 86400000 WHERE id = $1")
        .bind(key["api_key_id"].as_str().unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    plane
        .eventually(async || {
            announce(&plane).await;
            told(&plane).await.len() == 2
        })
        .await;
}

#[tokio::test]
async fn keys_that_are_dead_replaced_or_of_a_suspended_account_are_not_told_of() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let (dead, graced, _kept) = (
        key(&plane, &company, 8).await,
        key(&plane, &company, 8).await,
        key(&plane, &company, 8).await,
    );
    let path = |key: &Value| {
        format!(
            "/admin/customers/{}/api-keys/{}",
            company.id,
            key["api_key_id"].as_str().unwrap()
        )
    };
    plane.admin("DELETE", path(&dead)).send().await.expect(200);
    let grace = json!({"grace_seconds": 604_800});
    let rotated = plane
        .admin("POST", format!("{}/rotate", path(&graced)))
        .json(&grace)
        .send()
        .await;
    rotated.expect(200);
    let status = async |status: &str| {
        let body = json!({"status": status});
        let account = format!("/admin/customers/{}", company.id);
        plane.admin("PUT", account).json(&body).send().await.expect(200);
    };
    status("suspended").await;
    plane.advance(2 * DAY);
    assert_eq!(announce(&plane).await, 0);
    status("active").await;
    announce(&plane).await;
    // The one that was kept, and the one that replaced another.
    plane.eventually(async || told(&plane).await.len() == 2).await;
    assert_eq!(announce(&plane).await, 0);
    assert_eq!(told(&plane).await.len(), 2);
}
