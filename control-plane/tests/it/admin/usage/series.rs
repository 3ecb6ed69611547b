//! `GET /admin/usage/{customer_id}`: which calls, and by whom.

use keyward_contract::feed;
use serde_json::{Value, json};

use super::{Callers, callers, report};
use crate::plane::Plane;

async fn get(plane: &Plane, callers: &Callers, query: &str) -> Value {
    let path = format!("/admin/usage/{}?{query}", callers.company.id);
    plane.admin("GET", path).send().await.expect(200).json()
}

/// What all entries of a series sum up to: accepted, limited, refused.
fn sum(usage: &Value) -> [u64; 3] {
    ["accepted", "limited", "refused"].map(|name| {
        let entries = usage["series"].as_array().unwrap().iter();
        entries.map(|entry| entry[name].as_u64().unwrap()).sum()
    })
}

/// Some calls of this hour and of yesterday, and one report of them repeated.
async fn used(plane: &Plane) -> Callers {
    let callers = callers(plane).await;
    let hour = plane.running.registry().clock.now().hour();
    let mut counters = callers.counters(hour, 1);
    counters.extend(callers.counters(hour - 24, 2));
    report(plane, "edge-1", counters.clone()).await;
    report(plane, "edge-2", callers.counters(hour, 3)).await;
    report(plane, "edge-1", counters).await;
    callers
}

#[tokio::test]
async fn a_series_is_of_the_calls_that_the_filters_name() {
    let plane = Plane::start().await;
    let callers = used(&plane).await;
    let key = plane.account_key(&callers.company.id, &json!({})).await;
    let unused = key["api_key_id"].as_str().unwrap();
    // Each counter is there six times: once and three times in this hour, twice yesterday.
    let all = [6 * (5 + 7 + 11), 6 * 9, 6 * 12];
    let (first, second) = ([30, 18, 24], [42, 18, 24]);
    let with_key = [72, 36, 48];
    for (filter, expected) in [
        (String::new(), all),
        ("environment=production".into(), all),
        ("environment=test".into(), [0; 3]),
        (format!("end_customer_id={}", callers.first), first),
        (format!("end_customer_id={}", callers.second), second),
        (format!("api_key_id={}", callers.key), with_key),
        (format!("api_key_id={}", callers.first_key), first),
        (format!("api_key_id={unused}"), [0; 3]),
        ("route=/b".into(), [108, 36, 48]),
        ("route=%2Fa".into(), first),
        ("route=/c".into(), [0; 3]),
        (format!("route=/b&api_key_id={}", callers.key), second),
        (
            format!(
                "end_customer_id={}&api_key_id={}",
                callers.second, callers.first_key
            ),
            [0; 3],
        ),
    ] {
        for granularity in ["hour", "day", "month"] {
            // Two days back by hour, too.
            let hour = plane.running.registry().clock.now().0 - 48 * 3_600_000;
            let from = keyward_contract::UnixMillis(hour).to_rfc3339_seconds();
            let usage = get(
                &plane,
                &callers,
                &format!("from={from}&granularity={granularity}&{filter}"),
            )
            .await;
            assert_eq!(sum(&usage), expected, "{granularity} {filter}");
            assert!(usage.get("groups").is_none() && usage.get("series_kept_from").is_none());
        }
    }
    // A filter alone asks for a series of the usual time; what is above it stays the account's.
    let usage = get(&plane, &callers, &format!("end_customer_id={}", callers.first)).await;
    assert_eq!(sum(&usage), first);
    assert_eq!(
        usage["quota"]["used"].as_u64().unwrap(),
        year_to_date(&plane, all[0], 46)
    );
}

/// Yesterday may have been another year.
fn year_to_date(plane: &Plane, both_days: u64, yesterday: u64) -> u64 {
    let now = plane.running.registry().clock.now();
    let is_new_year = keyward_contract::UnixMillis(now.0 - 86_400_000).date().year() != now.date().year();
    both_days - if is_new_year { yesterday } else { 0 }
}

#[tokio::test]
async fn what_the_account_never_had_is_404() {
    let plane = Plane::start().await;
    let callers = callers(&plane).await;
    let other = super::callers(&plane).await;
    for filter in [
        "end_customer_id=clx8f2k9h0001qr5tgvwxyz99".to_owned(),
        format!("end_customer_id={}", other.first),
        // It is there, in the other environment.
        format!("environment=test&end_customer_id={}", callers.first),
        format!("api_key_id={}", crate::admin::NOBODY),
        format!("api_key_id={}", other.key),
        format!("environment=test&api_key_id={}", callers.key),
    ] {
        let path = format!("/admin/usage/{}?{filter}", callers.company.id);
        let missing = plane.admin("GET", path).send().await;
        missing.expect_error(404, "not_found");
    }
    // What is dead now was used once.
    let path = format!("/customers/{}", callers.first);
    plane
        .call("DELETE", path)
        .key(&callers.company.live)
        .send()
        .await
        .expect(204);
    let path = format!("/admin/customers/{}/api-keys/{}", callers.company.id, callers.key);
    plane.admin("DELETE", path).send().await.expect(200);
    for filter in [
        format!("end_customer_id={}", callers.first),
        format!("api_key_id={}", callers.first_key),
        format!("api_key_id={}", callers.key),
    ] {
        get(&plane, &callers, &filter).await;
    }
}

#[tokio::test]
async fn groups_are_the_most_accepted_first_and_add_up() {
    let plane = Plane::start().await;
    let callers = used(&plane).await;
    let group = |name: &str, id: Value, accepted: u64, limited: u64, refused: u64| json!({name: id, "accepted": accepted, "limited": limited, "refused": refused});
    let rows = [
        (
            "api_key",
            json!([
                group("api_key_id", json!(callers.key), 72, 36, 48),
                group("api_key_id", Value::Null, 66, 18, 24),
            ]),
        ),
        (
            "end_customer",
            json!([
                group("end_customer_id", Value::Null, 66, 18, 24),
                group("end_customer_id", json!(callers.second), 42, 18, 24),
                group("end_customer_id", json!(callers.first), 30, 18, 24),
            ]),
        ),
        (
            "route",
            json!([
                group("route", json!("/b"), 108, 36, 48),
                group("route", json!("/a"), 30, 18, 24)
            ]),
        ),
    ];
    for (by, expected) in rows {
        for granularity in ["hour", "day", "month"] {
            let from = plane.running.registry().clock.now().0 - 40 * 86_400_000;
            let from = keyward_contract::UnixMillis(from).to_rfc3339_seconds();
            let usage = get(
                &plane,
                &callers,
                &format!("group_by={by}&from={from}&granularity={granularity}"),
            )
            .await;
            assert_eq!(usage["groups"], expected, "{by} {granularity}");
        }
    }
    // Alone it is of the usual time, and asks for no series.
    let usage = get(&plane, &callers, "group_by=route&fields=all").await;
    assert!(usage.get("series").is_none());
    assert_eq!(usage["groups"].as_array().unwrap().len(), 2);
    let of_second = format!("group_by=route&end_customer_id={}", callers.second);
    let usage = get(&plane, &callers, &of_second).await;
    assert_eq!(usage["groups"], json!([group("route", json!("/b"), 42, 18, 24)]));
}

#[tokio::test]
async fn of_very_many_groups_the_thousand_most_accepted_are_shown() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let hour = plane.running.registry().clock.now().hour();
    let counters = (1..=1_005).map(|at| feed::UsageCounter {
        accepted: at,
        ..super::counter(
            &company.id,
            hour,
            feed::Environment::Production,
            &format!("/{at}"),
        )
    });
    report(&plane, "edge-1", counters.collect()).await;
    let path = format!("/admin/usage/{}?group_by=route", company.id);
    let usage = plane.admin("GET", path).send().await.expect(200).json();
    let groups = usage["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1_000);
    let ends = [&groups[0], &groups[999]].map(|group| (&group["route"], &group["accepted"]));
    assert_eq!(
        ends,
        [(&json!("/1005"), &json!(1_005)), (&json!("/6"), &json!(6))]
    );
}

#[tokio::test]
async fn all_that_is_counted_is_shown_when_asked_for() {
    let plane = Plane::start().await;
    let callers = used(&plane).await;
    let query = format!("granularity=hour&fields=all&end_customer_id={}", callers.second);
    let usage = get(&plane, &callers, &query).await;
    let series = usage["series"].as_array().unwrap();
    let mut now = series
        .iter()
        .rev()
        .find(|entry| entry["accepted"] != 0)
        .unwrap()
        .clone();
    now["start"].take();
    let expected = json!({
        "start": null, "accepted": 28, "limited": 12, "refused": 16, "rate_limited": 8, "quota_refused": 4,
        "would_limit": 4, "answers": {"1xx": 0, "2xx": 28, "3xx": 0, "4xx": 4, "5xx": 0}, "bytes_in": 400,
        "bytes_out": 4_000, "latency_average_ms": 2.5,
    });
    assert_eq!(now, expected);
    let idle = series.iter().find(|entry| entry["accepted"] == 0).unwrap();
    assert_eq!(idle["latency_average_ms"], Value::Null);
    // Without it, entries are what they always were.
    let usage = get(&plane, &callers, "granularity=hour").await;
    let names: Vec<_> = usage["series"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["start", "accepted", "limited", "refused"]);
}

#[tokio::test]
async fn a_series_that_begins_before_what_is_kept_says_from_when_on_there_is_any() {
    let plane = Plane::start().await;
    let callers = callers(&plane).await;
    let now = plane.running.registry().clock.now();
    let ago = |days: i64| keyward_contract::UnixMillis(now.0 - days * 86_400_000);
    report(&plane, "edge-1", callers.counters(ago(95).hour(), 1)).await;
    let query = |granularity: &str, from: i64, to: i64| {
        let (from, to) = (ago(from).to_rfc3339_seconds(), ago(to).to_rfc3339_seconds());
        format!("granularity={granularity}&from={from}&to={to}")
    };
    let usage = get(&plane, &callers, &query("hour", 100, 80)).await;
    assert_eq!(sum(&usage), [0; 3]);
    let kept_from = usage["series_kept_from"].as_str().unwrap();
    assert_eq!(kept_from[..14], ago(90).to_rfc3339_seconds()[..14]);
    let usage = get(&plane, &callers, &query("hour", 80, 60)).await;
    assert!(usage.get("series_kept_from").is_none());
    let usage = get(&plane, &callers, &query("day", 100, 80)).await;
    assert_eq!(sum(&usage)[0], 23);
    assert!(usage.get("series_kept_from").is_none());
    let usage = get(&plane, &callers, &query("day", 1_300, 1_000)).await;
    assert!(usage.get("series_kept_from").is_some());
    let usage = get(&plane, &callers, &query("month", 4_000, 0)).await;
    assert_eq!(sum(&usage)[0], 23);
    assert!(usage.get("series_kept_from").is_none());
}
