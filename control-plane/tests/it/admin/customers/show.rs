//! `GET /admin/customers/{customer_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::{acme, create, nowhere, path, put};
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn an_account_is_shown_whole_with_its_key_id_masked() {
    let plane = Plane::start().await;
    let mut body = acme();
    body["contract_start"] = json!("2026-01-01");
    body["contract_end"] = json!("2036-12-31");
    body["metadata"] = json!({"segment": "bank"});
    let made = create(&plane, &body).await.expect(201).json();
    let shown = plane
        .admin("GET", path(&made["customer"]))
        .send()
        .await
        .expect(200)
        .json();
    let id = made["customer"]["api_key_id"].as_str().unwrap();
    assert_eq!(shown["api_key_id"], format!("{}***{}", &id[..3], &id[33..]));
    insta::assert_json_snapshot!(shown, {
        ".customer_id" => "[id]", ".api_key_id" => "[masked]", ".created_at" => "[at]", ".updated_at" => "[at]",
        ".environments[].environment_id" => "[id]",
    }, @r#"
    {
      "customer_id": "[id]",
      "company_name": "Acme Financial",
      "contact_email": "it@acme.example",
      "tier": "growth",
      "status": "active",
      "api_key_id": "[masked]",
      "annual_commitment": 250000,
      "annual_validation_limit": 10000000,
      "contract_start": "2026-01-01",
      "contract_end": "2036-12-31",
      "metadata": {
        "segment": "bank"
      },
      "created_at": "[at]",
      "updated_at": "[at]",
      "environments": [
        {
          "environment_id": "[id]",
          "kind": "test",
          "user_key_limit": 20
        },
        {
          "environment_id": "[id]",
          "kind": "production",
          "user_key_limit": 20
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn the_key_id_shown_is_the_oldest_active_production_key() {
    let plane = Plane::start().await;
    let made = create(&plane, &acme()).await.expect(201).json();
    let customer = &made["customer"];
    let account = customer["customer_id"].as_str().unwrap();
    let masked = |id: &str| json!(format!("{}***{}", &id[..3], &id[33..]));
    let first = customer["api_key_id"].as_str().unwrap();
    let second = plane.account_key(account, &json!({})).await;
    let second = second["api_key_id"].as_str().unwrap();
    plane.account_key(account, &json!({"environment": "test"})).await;
    // Shown alike by itself and in the list.
    let shown = async || {
        let one = plane.admin("GET", path(customer)).send().await.expect(200).json();
        let list = plane
            .admin("GET", "/admin/customers")
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(one["api_key_id"], list["customers"][0]["api_key_id"]);
        one["api_key_id"].clone()
    };
    assert_eq!(shown().await, masked(first));
    for (revoked, next) in [(first, masked(second)), (second, json!(null))] {
        let key = format!("{}/api-keys/{revoked}", path(customer));
        plane.admin("DELETE", key).send().await.expect(200);
        assert_eq!(shown().await, next);
    }
    let third = plane.account_key(account, &json!({})).await;
    assert_eq!(shown().await, masked(third["api_key_id"].as_str().unwrap()));
    put(&plane, customer, &json!({"status": "suspended"}))
        .await
        .expect(200);
    assert_eq!(shown().await, masked(third["api_key_id"].as_str().unwrap()));
    plane.admin("DELETE", path(customer)).send().await.expect(200);
    assert_eq!(shown().await, json!(null));
}

#[tokio::test]
async fn an_account_that_is_not_there_is_404() {
    let plane = Plane::start().await;
    crate::admin::leads_nowhere(&plane, "GET", &nowhere()).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Viewer,
        allow: &["DELETE", "GET", "HEAD", "PATCH", "PUT"],
    }
}
