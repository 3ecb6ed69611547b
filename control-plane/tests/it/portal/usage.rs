//! `GET /customers/{customerId}/usage`

use serde_json::json;

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
