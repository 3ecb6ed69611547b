//! `GET /admin/usage/{customer_id}`

use keyward_contract::{AccountId, KeyId, feed};
use keyward_control_plane::domain::admin::Role;
use keyward_control_plane::store::usage::{Merger, Report, Reported};
use serde_json::{Value, json};

use crate::admin::Door;
use crate::plane::{Company, Plane};

mod export;
mod export_all;
mod series;
mod upkeep;

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

/// What a gateway reports: accepted and limited calls in an hour.
fn counter(account: &str, hour: i64, environment: feed::Environment, route: &str) -> feed::UsageCounter {
    let account: AccountId = account.parse().unwrap();
    feed::UsageCounter {
        account_id: account.as_uuid().as_bytes().to_vec(),
        environment: environment.into(),
        route: route.into(),
        hour,
        accepted: 5,
        rate_limited: 2,
        quota_refused: 1,
        auth_refused: 4,
        boot_epoch: 1,
        ..feed::UsageCounter::default()
    }
}

/// Merges what a gateway counted under some of its starts.
pub(crate) async fn report(plane: &Plane, gateway: &str, counters: Vec<feed::UsageCounter>) {
    let report = Report {
        gateway_id: gateway.into(),
        counters: counters
            .into_iter()
            .map(|counter| Reported::check(counter, 1).unwrap())
            .collect(),
    };
    let store = &plane.running.registry().store;
    Merger::default().merge(store, &[report]).await.unwrap();
}

/// A company whose calls had these callers.
struct Callers {
    company: Company,
    key: String,
    first: String,
    first_key: String,
    second: String,
}

/// A company with an account key and two end customers.
async fn callers(plane: &Plane) -> Callers {
    let company = plane.company("Acme").await;
    let key = plane.account_key(&company.id, &json!({})).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (first, second) = (
        plane.customer(&company.live, "First").await,
        plane.customer(&company.live, "Second").await,
    );
    let first_key = plane.key_of(first["id"].as_str().unwrap()).await;
    Callers {
        key: text(&key["api_key_id"]),
        first: text(&first["id"]),
        first_key,
        second: text(&second["id"]),
        company,
    }
}

impl Callers {
    /// Calls of an hour: of the first customer with both keys on `/a`, of the second with the account's on `/b`, and
    /// of none, with none, on `/b`.
    fn counters(&self, hour: i64, times: u64) -> Vec<feed::UsageCounter> {
        let bytes = |id: &str| id.parse::<KeyId>().unwrap().as_uuid().as_bytes().to_vec();
        let live = feed::Environment::Production;
        let counted = |route, accepted| feed::UsageCounter {
            accepted: accepted * times,
            rate_limited: 2 * times,
            quota_refused: times,
            auth_refused: 4 * times,
            would_limit: times,
            answers: vec![0, accepted * times, 0, times, 0],
            bytes_in: 100 * times,
            bytes_out: 1_000 * times,
            latency_us: 2_500 * accepted * times,
            ..counter(&self.company.id, hour, live, route)
        };
        vec![
            feed::UsageCounter {
                customer_id: self.first.clone(),
                account_key_id: bytes(&self.key),
                customer_key_id: bytes(&self.first_key),
                ..counted("/a", 5)
            },
            feed::UsageCounter {
                customer_id: self.second.clone(),
                account_key_id: bytes(&self.key),
                ..counted("/b", 7)
            },
            counted("/b", 11),
        ]
    }
}

#[tokio::test]
async fn usage_over_time_is_shown_when_asked_for_without_gaps() {
    // However long ago that was.
    let plane = Plane::start_with(|config| config.usage.keep_hours = config.usage.keep_days).await;
    let (company, other) = (plane.company("Acme").await, plane.company("Other").await);
    // 2026-01-31T22:00Z, and three hours later it is February.
    let (january, february) = (491_638, 491_641);
    let live = feed::Environment::Production;
    let counters = [
        counter(&company.id, january, live, "/a"),
        counter(&company.id, january, live, "/b"),
        counter(&company.id, february, live, "/a"),
        counter(&company.id, february, feed::Environment::Test, "/a"),
        counter(&other.id, february, live, "/a"),
    ];
    report(&plane, "edge-1", counters.to_vec()).await;

    let entry = |start: &str, times: u64| json!({"start": start, "accepted": 5 * times, "limited": 3 * times, "refused": 4 * times});
    let rows = [
        (
            "from=2026-01-31T22:30:00Z&to=2026-02-01T01:00:01Z&granularity=hour",
            json!([
                entry("2026-01-31T22:00:00Z", 2),
                entry("2026-01-31T23:00:00Z", 0),
                entry("2026-02-01T00:00:00Z", 0),
                entry("2026-02-01T01:00:00Z", 1),
            ]),
        ),
        (
            "from=2026-01-30&to=2026-02-01",
            json!([entry("2026-01-30T00:00:00Z", 0), entry("2026-01-31T00:00:00Z", 2)]),
        ),
        // A month counts whole, however little of it was asked for.
        (
            "from=2026-01-15&to=2026-02-01T00:00:00.001Z&granularity=month",
            json!([entry("2026-01-01T00:00:00Z", 2), entry("2026-02-01T00:00:00Z", 1)]),
        ),
    ];
    for (query, expected) in rows {
        let path = format!("/admin/usage/{}?{query}", company.id);
        let usage = plane.admin("GET", path).send().await.expect(200).json();
        assert_eq!(usage["series"], expected, "{query}");
    }
    let length = async |query: &str| {
        let path = format!("/admin/usage/{}?{query}", company.id);
        let usage = plane.admin("GET", path).send().await.expect(200).json();
        usage["series"].as_array().unwrap().len()
    };
    // Up to now, the present hour, day or month included.
    assert!((24..=25).contains(&length("granularity=hour").await));
    assert!((30..=31).contains(&length("granularity=day").await));
    assert!((12..=13).contains(&length("granularity=month").await));
}

#[tokio::test]
async fn a_series_that_can_not_be_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (query, field) in [
        ("granularity=week", "granularity"),
        ("granularity=", "granularity"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("from=2026-02-01&to=2026-02-01", "to"),
        ("from=9999-12-31", "to"),
        ("from=2020-01-01&to=2026-01-01&granularity=hour", "from"),
        ("from=2020-01-01&from=2021-01-01", "from"),
        ("environment=live", "environment"),
        ("environment=", "environment"),
        ("end_customer_id=clx", "end_customer_id"),
        ("api_key_id=1", "api_key_id"),
        ("group_by=tier", "group_by"),
        ("group_by=route&group_by=route", "group_by"),
        ("fields=some", "fields"),
        ("route=%00", "route"),
    ] {
        let path = format!("/admin/usage/{}?{query}", company.id);
        let refused = plane.admin("GET", path).send().await;
        let refused = refused.expect_error(400, "invalid_request").json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{query}: {message}");
    }
}

#[tokio::test]
async fn the_usage_of_nobody_is_404() {
    let plane = Plane::start().await;
    let paths = [crate::admin::NOBODY, "x"].map(|id| format!("/admin/usage/{id}"));
    crate::admin::leads_nowhere(&plane, "GET", &paths).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/usage/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Viewer,
        allow: &["GET", "HEAD"],
    }
}
