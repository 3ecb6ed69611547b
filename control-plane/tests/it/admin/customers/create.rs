//! `POST /admin/customers`

use keyward_contract::Record;
use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::{acme, create, path};
use crate::admin::Door;
use crate::plane::Plane;
use crate::promises::change;

#[tokio::test]
async fn a_new_account_comes_with_a_key_its_tier_and_two_environments() {
    let plane = Plane::start().await;
    let answer = create(&plane, &acme()).await.expect(201);
    let mut created = answer.json();
    assert!(created["api_key"].as_str().unwrap().starts_with("pk_live_"));
    let customer = created["customer"].clone();
    let key_id = customer["api_key_id"].as_str().unwrap().to_owned();
    for field in ["customer_id", "api_key_id"] {
        assert_eq!(customer[field].as_str().unwrap().len(), 36);
        created["customer"][field].take();
    }
    assert_eq!(
        customer["created_at"].as_str().unwrap().len(),
        "2026-01-19T10:30:00Z".len()
    );
    created["api_key"].take();
    created["customer"]["created_at"].take();
    created["customer"]["updated_at"].take();
    let tier = json!({
        "tier": "growth", "name": "Growth", "annual_price": 250_000, "annual_limit": 10_000_000,
        "rate_limit": 100, "burst_limit": 200, "sla": "99.95%",
    });
    let expected = json!({
        "customer": {
            "customer_id": null, "company_name": "Acme Financial", "contact_email": "it@acme.example",
            "tier": "growth", "status": "active", "api_key_id": null, "annual_commitment": 250_000,
            "annual_validation_limit": 10_000_000, "contract_start": null, "contract_end": null, "metadata": {},
            "created_at": null, "updated_at": null,
        },
        "api_key": null,
        "tier_details": tier,
        "warning": "Save the API key now - it will not be shown again",
    });
    assert_eq!(created, expected);
    let shown = plane
        .admin("GET", path(&customer))
        .send()
        .await
        .expect(200)
        .json();
    let masked = format!("{}***{}", &key_id[..3], &key_id[33..]);
    assert_eq!(shown["api_key_id"], masked.as_str());
    let kinds: Vec<_> = shown["environments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            (
                e["kind"].as_str().unwrap(),
                e["environment_id"].as_str().unwrap().len(),
                e["user_key_limit"].as_i64(),
            )
        })
        .collect();
    assert_eq!(kinds, [("test", 16, Some(20)), ("production", 16, Some(20))]);
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    assert_eq!(records.len(), 3);
    assert!(matches!(&records[0], Record::Account(account) if account.limits.burst == 200));
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name() {
    let plane = Plane::start().await;
    for (change, field) in [
        (json!({"company_name": null}), "company_name"),
        (json!({"company_name": ""}), "company_name"),
        (json!({"company_name": "x".repeat(256)}), "company_name"),
        (json!({"contact_email": "nonsense"}), "contact_email"),
        (json!({"contact_email": 7}), "contact_email"),
        (json!({"tier": "platinum"}), "tier"),
        (json!({"tier": null}), "tier"),
        (json!({"contract_start": "19.01.2026"}), "contract_start"),
        (json!({"contract_end": "2026-02-30"}), "contract_end"),
        (
            json!({"contract_start": "2026-02-01", "contract_end": "2026-01-31"}),
            "contract_end",
        ),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"metadata": {"a": "x".repeat(501)}}), "metadata"),
        (json!({"overrides": {"rate_limit": 5}}), "overrides"),
        (
            json!({"tier": "custom", "overrides": {"rate_limit": 0}}),
            "overrides.rate_limit",
        ),
        (
            json!({"tier": "custom", "overrides": {"annual_limit": 1.5}}),
            "overrides.annual_limit",
        ),
        (json!({"tier": "custom", "overrides": 7}), "overrides"),
    ] {
        let mut body = acme();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = create(&plane, &body)
            .await
            .expect_error(400, "invalid_request")
            .json();
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains(&format!("`{field}`")),
            "{change}: {answer}"
        );
    }
    for missing in ["company_name", "contact_email", "tier"] {
        let mut body = acme();
        body.as_object_mut().unwrap().remove(missing);
        let answer = create(&plane, &body)
            .await
            .expect_error(400, "invalid_request")
            .json();
        assert!(answer["message"].as_str().unwrap().contains(missing));
    }
}

#[tokio::test]
async fn the_last_day_of_9999_is_a_day_like_any_other() {
    let plane = Plane::start().await;
    let mut body = acme();
    body["contract_end"] = json!("9999-12-31");
    let made = create(&plane, &body).await.expect(201).json();
    assert_eq!(made["customer"]["contract_end"], "9999-12-31");
    let id = made["customer"]["customer_id"].as_str().unwrap();
    for (sent, shown) in [
        ("9999-12-31", "9999-12-31T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ] {
        let key = plane.account_key(id, &json!({"expires_at": sent})).await;
        assert_eq!(key["expires_at"], shown);
        assert_eq!(key["status"], "active");
    }
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_makes_no_second_account_and_another_body_is_409() {
    let plane = Plane::start().await;
    let make = |body: serde_json::Value| {
        let call = plane
            .admin("POST", "/admin/customers")
            .header("idempotency-key", "k");
        call.json(&body).send()
    };
    let (first, repeat) = (make(acme()).await.expect(201), make(acme()).await.expect(201));
    assert_eq!(first.text, repeat.text);
    let mut other = acme();
    other["company_name"] = json!("Other");
    make(other).await.expect_error(409, "conflict");
    let listed = plane
        .admin("GET", "/admin/customers")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(listed["customers"].as_array().unwrap().len(), 1);
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
        path: "/admin/customers",
        least: Role::Operator,
        allow: &["GET", "HEAD", "POST"],
    }
}
