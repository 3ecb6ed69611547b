//! `PUT` and `PATCH /admin/customers/{customer_id}`

use keyward_control_plane::domain::admin::Role;
use std::time::Duration;

use keyward_contract::Record;
use serde_json::{Value, json};

use super::{acme, create, path, put};
use crate::admin::Door;
use crate::plane::Plane;
use crate::promises::change;

#[tokio::test]
async fn put_changes_what_is_given_and_nothing_else() {
    let plane = Plane::start().await;
    let mut body = acme();
    body["contract_start"] = json!("2026-01-01");
    body["metadata"] = json!({"segment": "bank"});
    let customer = create(&plane, &body).await.expect(201).json()["customer"].clone();
    plane.advance(Duration::from_secs(5));
    let answer = put(&plane, &customer, &json!({"contract_end": "2036-12-31"}))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["contract_start"], "2026-01-01");
    assert_eq!(answer["contract_end"], "2036-12-31");
    assert_eq!(answer["metadata"], json!({"segment": "bank"}));
    assert!(answer["updated_at"].as_str() > customer["updated_at"].as_str());
    let bad = put(&plane, &customer, &json!({"contract_end": "2025-12-31"})).await;
    bad.expect_error(400, "invalid_request");
    let answer = put(
        &plane,
        &customer,
        &json!({"metadata": null, "contract_end": null}),
    )
    .await
    .expect(200)
    .json();
    assert_eq!(
        (&answer["metadata"], &answer["contract_end"]),
        (&json!({}), &Value::Null)
    );
    let unchanged = plane
        .admin("PATCH", path(&customer))
        .json(&json!({}))
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(unchanged, answer);
    for (bad, field) in [
        (json!({"status": "cancelled"}), "status"),
        (json!({"status": "gone"}), "status"),
        (json!({"company_name": null}), "company_name"),
        (json!({"tier": "platinum"}), "tier"),
    ] {
        let answer = put(&plane, &customer, &bad)
            .await
            .expect_error(400, "invalid_request")
            .json();
        assert!(answer["message"].as_str().unwrap().contains(field));
    }
}

#[tokio::test]
async fn what_was_negotiated_goes_with_the_custom_tier() {
    let plane = Plane::start().await;
    let mut body = acme();
    body["tier"] = json!("custom");
    body["overrides"] = json!({"annual_price": 0, "annual_limit": 5, "rate_limit": 7});
    let customer = create(&plane, &body).await.expect(201).json()["customer"].clone();
    assert_eq!(customer["annual_commitment"], 0);
    assert_eq!(customer["annual_validation_limit"], 5);
    assert_eq!(customer["overrides"], body["overrides"]);
    let answer = put(&plane, &customer, &json!({"tier": "scale"}))
        .await
        .expect(200);
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    assert!(matches!(records.as_slice(), [Record::Account(account)] if account.limits.rate == 200));
    assert!(answer.json().get("overrides").is_none());
    let back = put(&plane, &customer, &json!({"tier": "custom"}))
        .await
        .expect(200)
        .json();
    assert_eq!(back["annual_validation_limit"], 200_000_000);
}

#[tokio::test]
async fn suspending_and_resuming_never_touches_a_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let revoked = plane.account_key(&company.id, &json!({})).await;
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let key = format!("{keys}/{}", revoked["api_key_id"].as_str().unwrap());
    plane.admin("DELETE", key).send().await.expect(200);
    let before = plane.admin("GET", &keys).send().await.expect(200).json();
    let customer = json!({"customer_id": company.id});
    for status in ["suspended", "active"] {
        let answer = put(&plane, &customer, &json!({"status": status}))
            .await
            .expect(200);
        assert_eq!(answer.json()["status"], status);
        let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
        assert!(
            matches!(records.as_slice(), [Record::Account(_)]),
            "one record: {records:?}"
        );
    }
    assert_eq!(plane.admin("GET", &keys).send().await.expect(200).json(), before);
    let dead = plane
        .call("GET", "/customers")
        .key(revoked["api_key"].as_str().unwrap());
    dead.send().await.expect_code(401, "EXPIRED_API_KEY");
}

#[tokio::test]
async fn an_account_that_is_not_there_is_404() {
    let plane = Plane::start().await;
    for method in ["PUT", "PATCH"] {
        crate::admin::leads_nowhere(&plane, method, &super::nowhere()).await;
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
        method: "PATCH",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Operator,
        allow: &["DELETE", "GET", "HEAD", "PATCH", "PUT"],
    }
}
