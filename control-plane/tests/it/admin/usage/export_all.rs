//! `GET /admin/usage/export`

use keyward_contract::feed;
use keyward_control_plane::domain::admin::Role;

use super::export::{rows, sum};
use super::{counter, report};
use crate::admin::Door;
use crate::plane::Plane;

const LIVE: feed::Environment = feed::Environment::Production;
/// 2026-01-31T23:00Z; the next hour is February.
const JANUARY: i64 = 491_639;

#[tokio::test]
async fn a_month_of_all_accounts_is_handed_out_account_by_account() {
    let plane = Plane::start().await;
    let (acme, other) = (
        plane.company("=cmd|' /C calc'!A0").await,
        plane.company("Other").await,
    );
    let counters = vec![
        counter(&acme.id, JANUARY, LIVE, "/a"),
        counter(&other.id, JANUARY, LIVE, "/a"),
        counter(&acme.id, JANUARY, LIVE, "/b"),
        counter(&acme.id, JANUARY - 24, LIVE, "/b"),
        counter(&acme.id, JANUARY + 1, LIVE, "/b"),
        counter(&acme.id, JANUARY, feed::Environment::Test, "/b"),
    ];
    report(&plane, "edge-1", counters).await;
    let january = rows(&plane, "/admin/usage/export?month=2026-01", "csv").await;
    assert_eq!((january.len(), sum(&january, "accepted")), (3, 20));
    // One account after the other.
    let mut accounts: Vec<_> = january.iter().map(|row| row["customer_id"].clone()).collect();
    accounts.dedup();
    assert_eq!(accounts.len(), 2);
    let of_acme = january.iter().find(|row| row["customer_id"] == acme.id).unwrap();
    assert_eq!(of_acme["company_name"], "'=cmd|' /C calc'!A0");
    assert_eq!(of_acme["tier"], "growth");
    assert_eq!(of_acme["annual_limit"], "10000000");
    assert_eq!(of_acme["start"], "2026-01-01T00:00:00Z");
    let json = rows(&plane, "/admin/usage/export?month=2026-01", "json").await;
    let of_acme = json.iter().find(|row| row["customer_id"] == acme.id).unwrap();
    assert_eq!(of_acme["company_name"], "=cmd|' /C calc'!A0");
    let all = rows(
        &plane,
        "/admin/usage/export?month=2026-01&environment=all",
        "ndjson",
    )
    .await;
    assert_eq!((all.len(), sum(&all, "accepted")), (4, 25));
    let february = rows(&plane, "/admin/usage/export?month=2026-02", "csv").await;
    assert_eq!(sum(&february, "accepted"), 5);
}

#[tokio::test]
async fn it_is_of_the_present_month_unless_another_is_named() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let now = plane.running.registry().clock.now();
    report(
        &plane,
        "edge-1",
        vec![counter(&company.id, now.hour(), LIVE, "/")],
    )
    .await;
    let answer = plane.admin("GET", "/admin/usage/export").send().await.expect(200);
    let name = format!(
        "attachment; filename=\"usage-{}.csv\"",
        &now.to_rfc3339_seconds()[..7]
    );
    assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
    assert_eq!(answer.text.lines().count(), 2);
    // The names of the columns, in order.
    let head = answer.text.lines().next().unwrap();
    assert_eq!(
        head,
        "customer_id,company_name,tier,annual_limit,start,environment,end_customer_id,account_key_id,customer_key_id,\
         route,accepted,rate_limited,quota_refused,refused,would_limit,answers_1xx,answers_2xx,answers_3xx,\
         answers_4xx,answers_5xx,bytes_in,bytes_out,latency_us_total"
    );
    // What is enforced, shown and exported is one number.
    let path = format!("/admin/usage/{}", company.id);
    let shown = plane.admin("GET", path).send().await.expect(200).json();
    let exported = rows(&plane, "/admin/usage/export", "csv").await;
    assert_eq!(
        shown["usage"]["current_month"]["count"],
        sum(&exported, "accepted")
    );
}

#[tokio::test]
async fn what_is_no_month_or_format_is_400() {
    let plane = Plane::start().await;
    for (query, field) in [
        ("month=2026-13", "month"),
        ("month=2026", "month"),
        ("month=2026-01-01", "month"),
        ("month=1969-12", "month"),
        ("month=", "month"),
        ("format=xml", "format"),
        ("environment=both", "environment"),
    ] {
        let path = format!("/admin/usage/export?{query}");
        let refused = plane.admin("GET", path).send().await;
        let refused = refused.expect_error(400, "invalid_request").json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{query}: {message}");
    }
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "GET",
        path: "/admin/usage/export",
        least: Role::Viewer,
        allow: &["GET", "HEAD"],
    };
    door.opens_only_to_whom_it_should().await;
}
