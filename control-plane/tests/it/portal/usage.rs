//! `GET /customers/{customerId}/usage`

use keyward_contract::{AccountId, UnixMillis, feed};
use serde_json::{Value, json};

use crate::plane::Plane;
use crate::portal::Door;

#[tokio::test]
async fn a_customer_that_never_called_has_a_full_bucket_and_used_nothing() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let id = made["id"].as_str().unwrap();
    let call = plane
        .call("GET", format!("/customers/{id}/usage"))
        .key(&company.live);
    let mut usage = call.send().await.expect(200).json();
    let now = plane.running.registry().clock.now();
    let reset = usage["rateLimit"]["reset"].take().as_i64().unwrap();
    assert!((reset - now.0 / 1_000).abs() <= 2);
    let date = now.date();
    let none = |period: String| json!({"period": period, "accepted": 0, "limited": 0, "refused": 0});
    let expected = json!({
        "object": "customer_usage",
        "customerId": id,
        "environment": "production",
        "rateLimit": {"ratePerSecond": 100, "limit": 200, "remaining": 200, "reset": null},
        "usage": {
            "currentDay": none(date.to_string()),
            "currentMonth": none(format!("{:04}-{:02}", date.year(), date.month())),
            "currentYear": none(date.year().to_string()),
        },
        "quota": {
            "limit": 10_000_000,
            "used": 0,
            "remaining": 10_000_000,
            "resetsAt": format!("{}-01-01T00:00:00.000Z", date.year() + 1),
        },
        "lastRequestAt": null,
    });
    assert_eq!(usage, expected);
}

#[tokio::test]
async fn there_is_no_quota_in_test_and_no_usage_of_nobody() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let sandbox = plane.call("GET", "/customers/clx8f2k9h0001qr5tgvwxyz12/usage");
    let usage = sandbox.key(&company.test).send().await.expect(200).json();
    assert!(usage["quota"].is_null());
    assert_eq!(usage["environment"], "test");
    let nobody = plane.call("GET", "/customers/clx8f2k9h0001qr5tgvwxyz12/usage");
    nobody
        .key(&company.live)
        .send()
        .await
        .expect_code(404, "NOT_FOUND");
}

#[tokio::test]
async fn usage_over_time_is_shown_when_asked_for() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let id = made["id"].as_str().unwrap();
    let other = plane.customer(&company.live, "Other").await;
    let now = plane.running.registry().clock.now();
    let counter = |customer: &Value, hour| feed::UsageCounter {
        account_id: company
            .id
            .parse::<AccountId>()
            .unwrap()
            .as_uuid()
            .as_bytes()
            .to_vec(),
        environment: feed::Environment::Production.into(),
        customer_id: customer["id"].as_str().unwrap().into(),
        route: "/".into(),
        hour,
        accepted: 3,
        rate_limited: 2,
        quota_refused: 1,
        auth_refused: 4,
        last_accepted_at_ms: hour * 3_600_000,
        boot_epoch: 1,
        ..feed::UsageCounter::default()
    };
    let counters = vec![
        counter(&made, now.hour()),
        counter(&made, now.hour() - 24),
        counter(&other, now.hour()),
    ];
    crate::admin::usage::report(&plane, "edge-1", counters).await;
    let get = async |query: &str| {
        let call = plane.call("GET", format!("/customers/{id}/usage{query}"));
        call.key(&company.live).send().await.expect(200).json()
    };
    let usage = get("").await;
    assert!(usage.get("series").is_none());
    assert_eq!(usage["usage"]["currentDay"]["accepted"], 3);
    let hour = UnixMillis(now.hour() * 3_600_000).to_rfc3339_millis();
    assert_eq!(usage["lastRequestAt"], hour);
    let usage = get("?granularity=day").await;
    let used: Vec<_> = usage["series"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|day| day["accepted"] != 0)
        .collect();
    let today = format!("{}T00:00:00.000Z", now.date());
    assert_eq!(used.len(), 2);
    assert_eq!(
        *used[1],
        json!({"start": today, "accepted": 3, "limited": 3, "refused": 4})
    );
    let usage = get(&format!("?granularity=hour&from={hour}")).await;
    assert_eq!(
        usage["series"],
        json!([{"start": hour, "accepted": 3, "limited": 3, "refused": 4}])
    );
    let usage = get("?granularity=hour&from=2020-01-01&to=2020-01-02").await;
    assert!(usage["seriesKeptFrom"].is_string());
    for (query, field) in [
        ("granularity=week", "granularity"),
        ("from=x", "from"),
        ("to=x", "to"),
        ("from=2026-02-01&to=2026-02-01", "to"),
        ("from=2020-01-01&granularity=hour", "from"),
    ] {
        let call = plane.call("GET", format!("/customers/{id}/usage?{query}"));
        let refused = call
            .key(&company.live)
            .send()
            .await
            .expect_code(400, "INVALID_INPUT")
            .json();
        assert_eq!(refused["error"]["details"]["field"], field, "{query}");
    }
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_leads_nowhere_without_a_customer_of_the_caller() {
    door().leads_nowhere_without_a_customer_of_the_caller().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        rest: "/{}/usage",
        body: "",
        allow: &["GET", "HEAD"],
    }
}
