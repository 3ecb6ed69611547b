//! `GET /admin/usage/{customer_id}/export`

use std::collections::BTreeMap;

use keyward_contract::{KeyId, feed};
use keyward_control_plane::domain::admin::Role;
use serde_json::Value;

use super::{Callers, callers, counter, report};
use crate::admin::Door;
use crate::plane::Plane;

/// The rows of an export as objects, whatever it is written as.
pub(super) async fn rows(plane: &Plane, path: &str, format: &str) -> Vec<BTreeMap<String, String>> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let answer = plane.admin("GET", format!("{path}{separator}format={format}"));
    let answer = answer.send().await.expect(200);
    let disposition = answer.header("content-disposition").unwrap();
    assert!(
        disposition.starts_with("attachment; filename=\"usage-"),
        "{disposition}"
    );
    assert!(disposition.ends_with(&format!(".{format}\"")), "{disposition}");
    let kind = answer.header("content-type").unwrap();
    let objects: Vec<Value> = match format {
        "csv" => {
            assert_eq!(kind, "text/csv; charset=utf-8");
            let mut csv = csv::Reader::from_reader(answer.text.as_bytes());
            return csv.deserialize().map(Result::unwrap).collect();
        }
        "json" => {
            assert_eq!(kind, "application/json");
            serde_json::from_str(&answer.text).unwrap()
        }
        _ => {
            assert_eq!(kind, "application/x-ndjson");
            let lines = answer.text.lines();
            lines.map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    };
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |object: &Value| {
        let cells = object.as_object().unwrap().iter();
        cells.map(|(name, value)| (name.clone(), cell(value))).collect()
    };
    objects.iter().map(row).collect()
}

pub(super) fn sum(rows: &[BTreeMap<String, String>], column: &str) -> u64 {
    rows.iter().map(|row| row[column].parse::<u64>().unwrap()).sum()
}

async fn used(plane: &Plane) -> Callers {
    let callers = callers(plane).await;
    let hour = plane.running.registry().clock.now().hour();
    let mut counters = callers.counters(hour, 1);
    counters.extend(callers.counters(hour - 24, 2));
    counters.push(counter(&callers.company.id, hour, feed::Environment::Test, "/t"));
    report(plane, "edge-1", counters).await;
    report(plane, "edge-2", callers.counters(hour, 3)).await;
    callers
}

#[tokio::test]
async fn a_row_has_everything_that_is_counted_and_every_format_the_same() {
    let plane = Plane::start().await;
    let callers = used(&plane).await;
    let path = format!("/admin/usage/{}/export", callers.company.id);
    let csv = rows(&plane, &format!("{path}?granularity=hour"), "csv").await;
    let of_first = csv.iter().filter(|row| row["end_customer_id"] == callers.first);
    let newest = of_first.max_by_key(|row| row["start"].clone()).unwrap();
    let now = plane.running.registry().clock.now();
    let expected = [
        ("start", format!("{}:00:00Z", &now.to_rfc3339_seconds()[..13])),
        ("environment", "production".into()),
        ("end_customer_id", callers.first.clone()),
        ("account_key_id", callers.key.clone()),
        ("customer_key_id", callers.first_key.clone()),
        ("route", "/a".into()),
        ("accepted", "20".into()),
        ("rate_limited", "8".into()),
        ("quota_refused", "4".into()),
        ("refused", "16".into()),
        ("would_limit", "4".into()),
        ("answers_1xx", "0".into()),
        ("answers_2xx", "20".into()),
        ("answers_3xx", "0".into()),
        ("answers_4xx", "4".into()),
        ("answers_5xx", "0".into()),
        ("bytes_in", "400".into()),
        ("bytes_out", "4000".into()),
        ("latency_us_total", "50000".into()),
    ];
    let expected = expected.map(|(name, cell)| (name.to_owned(), cell));
    assert_eq!(*newest, BTreeMap::from(expected));
    for granularity in ["hour", "day", "month"] {
        let path = format!("{path}?granularity={granularity}&environment=all");
        let csv = rows(&plane, &path, "csv").await;
        assert_eq!(rows(&plane, &path, "json").await, csv);
        assert_eq!(rows(&plane, &path, "ndjson").await, csv);
    }
}

#[tokio::test]
async fn an_export_adds_up_to_what_is_shown() {
    let plane = Plane::start().await;
    let callers = used(&plane).await;
    for environment in ["production", "test"] {
        for granularity in ["hour", "day", "month"] {
            let from = plane.running.registry().clock.now().0 - 40 * 86_400_000;
            let from = keyward_contract::UnixMillis(from).to_rfc3339_seconds();
            let query = format!("granularity={granularity}&environment={environment}&from={from}");
            let path = format!("/admin/usage/{}/export?{query}", callers.company.id);
            let csv = rows(&plane, &path, "csv").await;
            let path = format!("/admin/usage/{}?{query}", callers.company.id);
            let shown = plane.admin("GET", path).send().await.expect(200).json();
            let entries = shown["series"].as_array().unwrap();
            let shown =
                |name: &str| -> u64 { entries.iter().map(|entry| entry[name].as_u64().unwrap()).sum() };
            assert!(shown("accepted") > 0);
            assert_eq!(sum(&csv, "accepted"), shown("accepted"), "{query}");
            let limited = sum(&csv, "rate_limited") + sum(&csv, "quota_refused");
            assert_eq!(limited, shown("limited"), "{query}");
            assert_eq!(sum(&csv, "refused"), shown("refused"), "{query}");
        }
    }
    let path = format!("/admin/usage/{}/export?environment=all", callers.company.id);
    let all = rows(&plane, &path, "csv").await;
    let environments: std::collections::BTreeSet<_> = all.iter().map(|row| &row["environment"]).collect();
    assert_eq!(environments.len(), 2);
}

#[tokio::test]
async fn more_rows_than_are_held_at_once_are_all_handed_out_once() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let hour = plane.running.registry().clock.now().hour();
    let live = feed::Environment::Production;
    let counters: Vec<_> = (0..1_500)
        .flat_map(|at| {
            let key = KeyId::new().as_uuid().as_bytes().to_vec();
            [0, 24, 48].map(|ago| feed::UsageCounter {
                account_key_id: key.clone(),
                ..counter(&company.id, hour - ago, live, &format!("/{}", at % 7))
            })
        })
        .collect();
    report(&plane, "edge-1", counters).await;
    let path = format!("/admin/usage/{}/export", company.id);
    for format in ["csv", "json", "ndjson"] {
        let rows = rows(&plane, &path, format).await;
        assert_eq!((rows.len(), sum(&rows, "accepted")), (4_500, 22_500));
        let mut seen: Vec<_> = rows
            .iter()
            .map(|row| (row["account_key_id"].clone(), row["start"].clone()))
            .collect();
        // Of one caller its days follow each other in order.
        for pair in seen.windows(2) {
            assert!(pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4_500);
    }
}

#[tokio::test]
async fn nothing_used_is_an_empty_file_of_each_format() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let path = format!("/admin/usage/{}/export", company.id);
    for format in ["csv", "json", "ndjson"] {
        assert!(rows(&plane, &path, format).await.is_empty(), "{format}");
    }
    let csv = plane.admin("GET", path).send().await.expect(200);
    assert_eq!(csv.text.lines().count(), 1);
    let name = format!("attachment; filename=\"usage-{}.csv\"", company.id);
    assert_eq!(csv.header("content-disposition"), Some(name.as_str()));
}

#[tokio::test]
async fn a_route_that_a_spreadsheet_would_calculate_is_harmless_in_csv_and_itself_in_json() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let hour = plane.running.registry().clock.now().hour();
    let live = feed::Environment::Production;
    report(
        &plane,
        "edge-1",
        vec![counter(&company.id, hour, live, "=/exact,\"x\"")],
    )
    .await;
    let path = format!("/admin/usage/{}/export", company.id);
    assert_eq!(rows(&plane, &path, "csv").await[0]["route"], "'=/exact,\"x\"");
    assert_eq!(rows(&plane, &path, "json").await[0]["route"], "=/exact,\"x\"");
}

#[tokio::test]
async fn an_export_that_can_not_be_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (query, field) in [
        ("format=xml", "format"),
        ("format=", "format"),
        ("environment=live", "environment"),
        ("granularity=year", "granularity"),
        ("from=x", "from"),
        ("to=2026-02-30", "to"),
        ("from=2026-02-01&to=2026-02-01", "to"),
        ("from=1970-01-01&granularity=hour", "from"),
    ] {
        let path = format!("/admin/usage/{}/export?{query}", company.id);
        let refused = plane.admin("GET", path).send().await;
        let refused = refused.expect_error(400, "invalid_request").json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{query}: {message}");
    }
    let paths = [crate::admin::NOBODY, "x"].map(|id| format!("/admin/usage/{id}/export"));
    crate::admin::leads_nowhere(&plane, "GET", &paths).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "GET",
        path: "/admin/usage/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/export",
        least: Role::Viewer,
        allow: &["GET", "HEAD"],
    };
    door.opens_only_to_whom_it_should().await;
}
