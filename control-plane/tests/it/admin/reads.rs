//! `GET /admin/tiers`, `/admin/gateways` and `/admin/usage/{customer_id}`

use serde_json::json;

use crate::plane::Plane;

#[tokio::test]
async fn the_catalogue_is_shown_in_the_operators_order() {
    let plane = Plane::start().await;
    let tiers = plane.admin("GET", "/admin/tiers").send().await.expect(200).json();
    let keys: Vec<_> = tiers["tiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tier| tier["tier"].clone())
        .collect();
    assert_eq!(keys, ["starter", "growth", "scale", "enterprise", "custom"]);
    let starter = json!({
        "tier": "starter", "name": "Starter", "annual_price": 100_000, "annual_limit": 2_000_000,
        "rate_limit": 50, "burst_limit": 100, "sla": "99.9%",
    });
    assert_eq!(tiers["tiers"][0], starter);
}

#[tokio::test]
async fn gateways_are_shown_against_the_newest_revision() {
    let plane = Plane::start().await;
    let before = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    plane.company("Acme").await;
    let after = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(after["gateways"], json!([]));
    // Two changes were made: the account, and its test key.
    assert_eq!(
        after["revision"].as_u64().unwrap(),
        before["revision"].as_u64().unwrap() + 2
    );
}

#[tokio::test]
async fn an_account_that_was_never_called_for_used_nothing() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let path = format!("/admin/usage/{}", company.id);
    let usage = plane.admin("GET", &path).send().await.expect(200).json();
    let date = plane.running.registry().clock.now().date();
    let expected = json!({
        "customer_id": company.id,
        "tier": "growth",
        "annual_limit": 10_000_000,
        "usage": {
            "current_month": {"period": format!("{:04}-{:02}", date.year(), date.month()), "count": 0},
            "current_year": {"period": date.year().to_string(), "count": 0},
        },
        "usage_percent": 0.0,
        "remaining": 10_000_000,
        "quota": {
            "period_start": format!("{}-01-01T00:00:00Z", date.year()),
            "period_end": format!("{}-01-01T00:00:00Z", date.year() + 1),
            "used": 0,
            "granted": 0,
        },
    });
    assert_eq!(usage, expected);
    let nobody = "/admin/usage/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";
    plane
        .admin("GET", nobody)
        .send()
        .await
        .expect_error(404, "not_found");
}
