//! Which change is told as what, and that it is told exactly when it happened.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::Hook;
use crate::plane::{Company, Plane};
use crate::receiver::Receiver;

/// Messages of these types, in the order in which they happened.
async fn told(receiver: &Receiver, count: usize) -> Vec<(String, Value)> {
    let mut received = receiver.wait_for(count).await;
    assert_eq!(received.len(), count, "{received:?}");
    // Ids are of time and counted within a millisecond; the order of arrival is not promised.
    received.sort_by_key(|one| one.id().to_owned());
    received
        .iter()
        .map(|one| (one.kind(), one.json()["data"].clone()))
        .collect()
}

async fn acme(plane: &Plane) -> Company {
    plane.company("Acme").await
}

#[tokio::test]
async fn every_way_in_which_a_key_is_made_replaced_or_dies_is_told() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let company = acme(&plane).await;
    let events = ["key.created", "key.rotated", "key.revoked"];
    Hook::at(&plane, &receiver, &events).await;
    let key = plane.account_key(&company.id, &json!({"name": "ci"})).await;
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let rotate = async |id: &str, grace: u64| {
        let path = format!("{keys}/{id}/rotate");
        let rotated = plane
            .admin("POST", path)
            .json(&json!({"grace_seconds": grace}))
            .send()
            .await;
        rotated.expect(200).json()
    };
    let first = key["api_key_id"].as_str().unwrap();
    let rotated = rotate(first, 0).await;
    let second = rotated["api_key_id"].as_str().unwrap();
    let graced = rotate(second, 3_600).await;
    let third = graced["api_key_id"].as_str().unwrap();
    plane
        .admin("DELETE", format!("{keys}/{third}"))
        .send()
        .await
        .expect(200);
    // A repeat is no change.
    plane
        .admin("DELETE", format!("{keys}/{third}"))
        .send()
        .await
        .expect(200);
    let customer = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}", customer["id"].as_str().unwrap());
    plane
        .call("POST", format!("{path}/rotate-key"))
        .key(&company.live)
        .send()
        .await
        .expect(200);
    plane
        .call("PATCH", &path)
        .key(&company.live)
        .json(&json!({"name": "College"}))
        .send()
        .await
        .expect(200);
    plane
        .call("DELETE", &path)
        .key(&company.live)
        .send()
        .await
        .expect(204);

    let told = told(&receiver, 7).await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    let expected = [
        "key.created",
        "key.rotated",
        "key.rotated",
        "key.revoked",
        "key.created",
        "key.rotated",
        "key.revoked",
    ];
    assert_eq!(kinds, expected);
    let made = json!({
        "api_key_id": first, "customer_id": company.id, "environment": "production", "end_customer_id": null,
        "status": "active", "expires_at": null,
    });
    assert_eq!(told[0].1, made);
    assert_eq!(
        (&told[1].1["api_key_id"], &told[1].1["revoked_api_key_id"]),
        (&json!(second), &json!(first))
    );
    assert_eq!(
        (&told[2].1["api_key_id"], &told[2].1["revoked_api_key_id"]),
        (&json!(third), &json!(second))
    );
    assert_eq!(told[2].1["revokes_at"], graced["revokes_at"]);
    assert_eq!(
        (&told[3].1["api_key_id"], &told[3].1["status"]),
        (&json!(third), &json!("revoked"))
    );
    assert_eq!(told[5].1["revoked_api_key_id"], told[4].1["api_key_id"]);
    assert_eq!(told[6].1["api_key_id"], told[5].1["api_key_id"]);
    for (_, data) in &told[4..] {
        assert_eq!(data["end_customer_id"], customer["id"]);
    }
    let text = json!(told.iter().map(|(_, data)| data).collect::<Vec<_>>()).to_string();
    for secret in [&key["api_key"], &rotated["api_key"], &customer["apiKey"]] {
        assert!(!text.contains(secret.as_str().unwrap()));
    }
}

#[tokio::test]
async fn an_account_s_changes_are_told_with_what_changed() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    Hook::at(&plane, &receiver, &["*"]).await;
    let body = json!({"company_name": "Acme", "contact_email": "it@example.com", "tier": "growth"});
    let made = plane
        .admin("POST", "/admin/customers")
        .json(&body)
        .send()
        .await
        .expect(201)
        .json();
    let id = made["customer"]["customer_id"].as_str().unwrap();
    let path = format!("/admin/customers/{id}");
    for change in [
        json!({"tier": "scale"}),
        json!({"status": "suspended"}),
        json!({"status": "active"}),
    ] {
        plane.admin("PUT", &path).json(&change).send().await.expect(200);
    }
    plane.admin("DELETE", &path).send().await.expect(200);
    let told = told(&receiver, 7).await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    let expected = [
        "customer.created",
        // The account's own key, and its sandbox customer's.
        "key.created",
        "key.created",
        "customer.updated",
        "customer.suspended",
        "customer.resumed",
        "customer.cancelled",
    ];
    assert_eq!(kinds, expected);
    let updated = json!({
        "customer_id": id, "company_name": "Acme", "tier": "scale", "status": "active", "changed": ["tier"],
    });
    assert_eq!(told[3].1, updated);
    assert_eq!(told[4].1["changed"], json!(["status"]));
    assert_eq!(told[6].1["status"], "cancelled");
}

#[tokio::test]
async fn a_webhook_is_told_only_what_it_asked_for() {
    let plane = Plane::start().await;
    let (keys, customers) = (Receiver::start().await, Receiver::start().await);
    let of_keys = Hook::at(&plane, &keys, &["key.created"]).await;
    let of_customers = Hook::at(&plane, &customers, &["customer.created"]).await;
    acme(&plane).await;
    let (keys, customers) = (keys.wait_for(3).await, customers.wait_for(1).await);
    assert!(keys.iter().all(|one| one.kind() == "key.created"));
    assert_eq!(customers[0].kind(), "customer.created");
    assert_eq!(of_keys.deliveries(&plane, "").await.len(), 3);
    assert_eq!(of_customers.deliveries(&plane, "").await.len(), 1);
}

#[tokio::test]
async fn a_change_that_can_not_be_told_does_not_happen() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["customer.created"]).await;
    let rename = async |from: &str, to: &str| {
        let store = &plane.running.registry().store;
        let mut tx = store
            .begin(keyward_control_plane::store::Purpose::Other)
            .await
            .unwrap();
        let text = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::query(AssertSqlSafe(text)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    rename("webhook_events", "put_away").await;
    let body = json!({"company_name": "Acme", "contact_email": "it@example.com", "tier": "growth"});
    let create = || plane.admin("POST", "/admin/customers").json(&body).send();
    create().await.expect_error(500, "internal_error");
    let listed = plane
        .admin("GET", "/admin/customers")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(listed["customers"], json!([]));
    rename("put_away", "webhook_events").await;
    create().await.expect(201);
    receiver.wait_for(1).await;
    assert_eq!(hook.deliveries(&plane, "").await.len(), 1);
}
