//! `/admin/customers`

use std::time::Duration;

use keyward_contract::Record;
use serde_json::{Value, json};

use crate::plane::{Answer, Plane};
use crate::promises::change;

fn acme() -> Value {
    json!({"company_name": "Acme Financial", "contact_email": "it@acme.example", "tier": "growth"})
}

async fn create(plane: &Plane, body: &Value) -> Answer {
    plane.admin("POST", "/admin/customers").json(body).send().await
}

fn path(customer: &Value) -> String {
    format!("/admin/customers/{}", customer["customer_id"].as_str().unwrap())
}

async fn put(plane: &Plane, customer: &Value, body: &Value) -> Answer {
    plane.admin("PUT", path(customer)).json(body).send().await
}

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
async fn accounts_are_listed_by_filter_and_page_newest_first() {
    let plane = Plane::start().await;
    for number in 0..5 {
        let mut body = acme();
        body["company_name"] = json!(format!("École {number} 100%"));
        body["tier"] = json!(if number % 2 == 0 { "starter" } else { "scale" });
        create(&plane, &body).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = plane
            .admin("GET", format!("/admin/customers?limit=2{cursor}"))
            .send()
            .await
            .expect(200)
            .json();
        seen.extend(
            page["customers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["company_name"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..5)
        .rev()
        .map(|number| format!("École {number} 100%"))
        .collect();
    assert_eq!(seen, expected);
    let count = async |query: &str| {
        let page = plane
            .admin("GET", format!("/admin/customers?{query}"))
            .send()
            .await
            .expect(200)
            .json();
        page["customers"].as_array().unwrap().len()
    };
    assert_eq!(count("tier=starter").await, 3);
    assert_eq!(count("tier=starter&query=%C3%A9COLE%202").await, 1);
    assert_eq!(count("query=ACME.example").await, 5);
    assert_eq!(count("query=%25").await, 5);
    assert_eq!(count("query=0%25x").await, 0);
    assert_eq!(count("query=_").await, 0);
    assert_eq!(count("status=suspended").await, 0);
    assert_eq!(count("status=active&limit=1000").await, 5);
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "cursor=",
        "status=gone",
        "tier=platinum",
    ] {
        let answer = plane.admin("GET", format!("/admin/customers?{bad}")).send().await;
        let answer = answer.expect_error(400, "invalid_request").json();
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains(bad.split('=').next().unwrap())
        );
    }
}

#[tokio::test]
async fn an_environments_user_key_limit_is_set_within_its_range() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = json!({"customer_id": company.id});
    let shown = plane
        .admin("GET", path(&customer))
        .send()
        .await
        .expect(200)
        .json();
    let id = shown["environments"][1]["environment_id"].as_str().unwrap();
    let url = format!("{}/environments/{id}", path(&customer));
    for limit in [0, 100_000] {
        let set = plane
            .admin("PUT", &url)
            .json(&json!({"user_key_limit": limit}))
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(
            set,
            json!({"environment_id": id, "kind": "production", "user_key_limit": limit})
        );
    }
    for bad in [json!(-1), json!(100_001), json!("5"), json!(null), json!(1.5)] {
        let answer = plane
            .admin("PUT", &url)
            .json(&json!({"user_key_limit": bad}))
            .send()
            .await;
        answer.expect_error(400, "invalid_request");
    }
    for unknown in ["0123456789abcdef", "x"] {
        let url = format!("{}/environments/{unknown}", path(&customer));
        let answer = plane
            .admin("PUT", url)
            .json(&json!({"user_key_limit": 1}))
            .send()
            .await;
        answer.expect_error(404, "not_found");
    }
}

#[tokio::test]
async fn whatever_is_searched_for_is_a_text_and_no_pattern() {
    let plane = Plane::start().await;
    let mut body = acme();
    body["company_name"] = json!("Caf\u{e9} 100%");
    create(&plane, &body).await.expect(201);
    create(&plane, &acme()).await.expect(201);
    let found = async |query: &str| {
        let listed = plane
            .admin("GET", format!("/admin/customers?query={query}"))
            .send()
            .await;
        listed.expect(200).json()["customers"].as_array().unwrap().len()
    };
    // Typed in pieces, it is the same text.
    assert_eq!(found("CAFE%CC%81").await, 1);
    assert_eq!(found("%20100%25%20").await, 1);
    assert_eq!(found("1_0").await, 0);
    for bad in [
        "%00",
        "a%00",
        &"_".repeat(256),
        &"%25".repeat(9_000),
        &"_".repeat(30_000),
    ] {
        let refused = plane
            .admin("GET", format!("/admin/customers?query={bad}"))
            .send()
            .await;
        let refused = refused.expect_error(400, "invalid_request");
        assert!(refused.json()["message"].as_str().unwrap().contains("`query`"));
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
