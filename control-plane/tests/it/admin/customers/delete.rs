//! `DELETE /admin/customers/{customer_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use super::{path, put};
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn a_cancelled_account_stays_cancelled() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = json!({"customer_id": company.id});
    for _ in 0..2 {
        let answer = plane
            .admin("DELETE", path(&customer))
            .send()
            .await
            .expect(200)
            .json();
        let expected = json!({
            "message": "Customer deleted successfully", "customer_id": company.id, "status": "cancelled",
        });
        assert_eq!(answer, expected);
    }
    let shown = plane
        .admin("GET", path(&customer))
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&shown["status"], &shown["api_key_id"]),
        (&json!("cancelled"), &Value::Null)
    );
    for body in [
        json!({}),
        json!({"status": "active"}),
        json!({"company_name": "Back"}),
    ] {
        put(&plane, &customer, &body).await.expect_error(409, "conflict");
    }
    let keys = format!("{}/api-keys", path(&customer));
    plane
        .admin("POST", &keys)
        .json(&json!({}))
        .send()
        .await
        .expect_error(409, "conflict");
    let listed = plane.admin("GET", &keys).send().await.expect(200).json();
    let listed = listed["api_keys"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|key| key["status"] == "revoked"));
}

#[tokio::test]
async fn an_account_that_is_not_there_is_404() {
    let plane = Plane::start().await;
    crate::admin::leads_nowhere(&plane, "DELETE", &super::nowhere()).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "DELETE",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Operator,
        allow: &["DELETE", "GET", "HEAD", "PATCH", "PUT"],
    }
}
