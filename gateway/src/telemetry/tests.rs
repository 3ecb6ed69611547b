use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::thread;

use proptest::prelude::*;

use super::catalogue::{ALL, LEDGER_PENDING, SYNC_CHANGES, SYNC_STATE};
use super::*;

const DECISIONS: &[&str] = &["accepted", "rate_limited", "unauthorized"];

fn telemetry() -> Arc<Telemetry> {
    Telemetry::new(TelemetryShape {
        routes: vec!["/v1".to_owned(), "say \"hi\"\\".to_owned(), "/v1".to_owned()],
        upstreams: vec!["api".to_owned()],
        decisions: DECISIONS,
        version: "1.2.3",
    })
}

fn call() -> Finished {
    Finished {
        route: Some(0),
        tier: TierSlot::NONE,
        status: 200,
        decision: Decision::ACCEPTED,
        duration: Duration::from_millis(3),
        overhead: Duration::from_micros(40),
        upstream: Some(0),
        upstream_time: Duration::from_micros(2_960),
        bytes_in: 10,
        bytes_out: 100,
    }
}

/// Every sample of a scrape by its series, as Prometheus reads it; panics where Prometheus would refuse.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let before = samples.insert(series.to_owned(), value.parse().unwrap());
        assert!(before.is_none(), "{series} occurs twice");
    }
    samples
}

fn value(telemetry: &Telemetry, series: &str) -> f64 {
    let samples = samples(&telemetry.render());
    *samples
        .get(series)
        .unwrap_or_else(|| panic!("no {series} in {samples:#?}"))
}

#[test]
fn calls_over_a_limit_that_only_counts_are_counted_under_tier_and_limit() {
    let telemetry = telemetry();
    let (one, other) = (telemetry.worker(), telemetry.worker());
    let growth = telemetry.tier("growth");
    one.would_limit(growth, Which::Customer);
    other.would_limit(growth, Which::Customer);
    other.would_limit(TierSlot::NONE, Which::Quota);
    let series = |tier, limit| format!("keyward_would_limit_total{{tier=\"{tier}\",limit=\"{limit}\"}}");
    assert_eq!(value(&telemetry, &series("growth", "customer")), 2.0);
    assert_eq!(value(&telemetry, &series("none", "quota")), 1.0);
    assert!(!telemetry.render().contains(&series("growth", "account")));
}

#[test]
fn a_finished_call_is_counted_under_route_tier_and_status() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    let tier = telemetry.tier("growth");
    worker.finished(&Finished { tier, ..call() });
    worker.finished(&Finished { tier, ..call() });
    worker.finished(&Finished {
        route: None,
        status: 404,
        decision: Decision(2),
        upstream: None,
        ..call()
    });
    let check = |series, expected: f64| assert_eq!(value(&telemetry, series), expected, "{series}");
    check(
        r#"keyward_requests_total{route="/v1",tier="growth",code="200"}"#,
        2.0,
    );
    check(
        r#"keyward_requests_total{route="none",tier="none",code="404"}"#,
        1.0,
    );
    check(r#"keyward_decisions_total{decision="accepted"}"#, 2.0);
    check(r#"keyward_decisions_total{decision="unauthorized"}"#, 1.0);
    check(r#"keyward_decisions_total{decision="rate_limited"}"#, 0.0);
    check(r#"keyward_received_bytes_total{route="/v1"}"#, 20.0);
    check(r#"keyward_sent_bytes_total{route="/v1"}"#, 200.0);
    check(
        r#"keyward_upstream_requests_total{upstream="api",code_class="2xx"}"#,
        2.0,
    );
    check(
        r#"keyward_request_duration_seconds_bucket{route="/v1",le="0.0025"}"#,
        0.0,
    );
    check(
        r#"keyward_request_duration_seconds_bucket{route="/v1",le="0.005"}"#,
        2.0,
    );
    check(
        r#"keyward_request_duration_seconds_bucket{route="/v1",le="+Inf"}"#,
        2.0,
    );
    check(r#"keyward_request_duration_seconds_count{route="/v1"}"#, 2.0);
    check(r#"keyward_request_duration_seconds_sum{route="/v1"}"#, 0.006);
    check("keyward_overhead_seconds_count", 3.0);
    check(r#"keyward_build_info{version="1.2.3"}"#, 1.0);
}

#[test]
fn a_refusal_after_forwarding_is_no_answer_of_the_upstream() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    worker.finished(&Finished {
        status: 504,
        decision: Decision(1),
        ..call()
    });
    worker.finished(&Finished {
        status: 499,
        ..call()
    });
    worker.finished(&Finished {
        status: 503,
        ..call()
    });
    let classes = |class: &str| {
        value(
            &telemetry,
            &format!(r#"keyward_upstream_requests_total{{upstream="api",code_class="{class}"}}"#),
        )
    };
    assert_eq!((classes("none"), classes("4xx"), classes("5xx")), (2.0, 0.0, 1.0));
}

#[test]
fn guards_count_what_is_open() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    let connection = worker.connection();
    let (first, second) = (worker.in_flight(), worker.in_flight());
    assert_eq!(value(&telemetry, "keyward_connections"), 1.0);
    assert_eq!(value(&telemetry, "keyward_requests_in_flight"), 2.0);
    drop((first, connection));
    assert_eq!(value(&telemetry, "keyward_requests_in_flight"), 1.0);
    drop(second);
    assert_eq!(value(&telemetry, "keyward_connections"), 0.0);
    assert_eq!(value(&telemetry, "keyward_requests_in_flight"), 0.0);
    assert_eq!(value(&telemetry, "keyward_connections_accepted_total"), 1.0);
}

#[test]
fn the_sums_of_all_workers_are_shown_also_of_those_that_ended() {
    const CALLS: u64 = 20_000;
    let telemetry = telemetry();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let worker = telemetry.worker();
                    for _ in 0..CALLS {
                        let _in_flight = worker.in_flight();
                        worker.finished(&call());
                        worker.cache_hit(CacheLevel::Memory);
                    }
                })
            })
            .collect();
        let mut before = BTreeMap::new();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let now = samples(&telemetry.render());
            for (series, value) in before
                .iter()
                .filter(|(series, _): &(&String, _)| series.contains("_total{"))
            {
                assert!(now[series] >= *value, "{series} went down");
            }
            before = now;
        }
    });
    let total = (3 * CALLS) as f64;
    for series in [
        r#"keyward_requests_total{route="/v1",tier="none",code="200"}"#,
        r#"keyward_request_duration_seconds_count{route="/v1"}"#,
        r#"keyward_cache_hits_total{level="memory"}"#,
    ] {
        assert_eq!(value(&telemetry, series), total, "{series}");
    }
    assert_eq!(value(&telemetry, "keyward_requests_in_flight"), 0.0);
}

#[test]
fn upstreams_and_caches_are_counted() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    worker.upstream_connected(0);
    for &failure in UpstreamFailure::ALL {
        worker.upstream_failed(0, failure);
    }
    worker.cache_miss(CacheLevel::Recent);
    assert_eq!(
        value(&telemetry, r#"keyward_upstream_connects_total{upstream="api"}"#),
        1.0
    );
    assert_eq!(
        value(
            &telemetry,
            r#"keyward_upstream_failures_total{upstream="api",reason="body"}"#
        ),
        1.0
    );
    assert_eq!(
        value(&telemetry, r#"keyward_cache_misses_total{level="recent"}"#),
        1.0
    );
    assert_eq!(
        value(&telemetry, r#"keyward_cache_hits_total{level="recent"}"#),
        0.0
    );
}

#[test]
fn routes_of_one_name_share_a_series_and_names_are_escaped() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    worker.finished(&call());
    worker.finished(&Finished {
        route: Some(2),
        ..call()
    });
    worker.finished(&Finished {
        route: Some(1),
        ..call()
    });
    assert_eq!(
        value(
            &telemetry,
            r#"keyward_requests_total{route="/v1",tier="none",code="200"}"#
        ),
        2.0
    );
    assert_eq!(
        value(&telemetry, r#"keyward_sent_bytes_total{route="say \"hi\"\\"}"#),
        100.0
    );
    assert_eq!(
        value(
            &telemetry,
            r#"keyward_request_duration_seconds_count{route="say \"hi\"\\"}"#
        ),
        1.0
    );
}

#[test]
fn a_reload_brings_routes_and_keeps_the_places_of_the_others() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    assert_eq!(
        (
            telemetry.route("/v1"),
            telemetry.route("/v2"),
            telemetry.route("/v2")
        ),
        (0, 3, 3)
    );
    worker.finished(&Finished {
        route: Some(3),
        ..call()
    });
    assert_eq!(
        value(&telemetry, r#"keyward_sent_bytes_total{route="/v2"}"#),
        100.0
    );
    assert_eq!(telemetry.upstream("other-api"), 1);
}

#[test]
fn the_page_does_not_grow_with_what_is_sent() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    let flood = |salt: u32| {
        for n in 0..3_000_u32 {
            let tier = telemetry.tier(&format!("tier-{salt}-{n}"));
            let (route, upstream) = (Some((n % 3) as u16), Some((n % 2) as u16));
            let status = (n % 1_000) as u16;
            worker.finished(&Finished {
                route,
                upstream,
                tier,
                status,
                decision: Decision((n % 256) as u8),
                ..call()
            });
        }
        samples(&telemetry.render()).into_keys().collect::<BTreeSet<_>>()
    };
    let first = flood(1);
    let second = flood(2);
    assert_eq!(
        first.symmetric_difference(&second).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    // Two routes, 32 tiers and `other`, 63 statuses and `other`, and little else.
    assert!(first.len() < 2 * 33 * 64 + 300, "{} series", first.len());
}

#[test]
fn what_other_modules_observe_is_shown() {
    let telemetry = telemetry();
    let shared = Arc::new(SharedHistogram::default());
    shared.record(Duration::from_secs(2));
    let seen = Arc::clone(&shared);
    telemetry.observe(Box::new(move |sums| {
        sums.counter(&SYNC_CHANGES, [], 2);
        sums.counter(&SYNC_CHANGES, [], 3);
        sums.gauge(&SYNC_STATE, ["connected"], 1.0);
        sums.gauge(&LEDGER_PENDING, [], 0.25);
        sums.histogram(&catalogue::UPSTREAM_DURATION, ["elsewhere"], &seen.reading());
    }));
    assert_eq!(value(&telemetry, "keyward_sync_changes_total"), 5.0);
    assert_eq!(value(&telemetry, r#"keyward_sync_state{state="connected"}"#), 1.0);
    assert_eq!(value(&telemetry, "keyward_ledger_pending"), 0.25);
    assert_eq!(
        value(
            &telemetry,
            r#"keyward_upstream_duration_seconds_sum{upstream="elsewhere"}"#
        ),
        2.0
    );
}

#[test]
fn the_process_is_shown() {
    let text = telemetry().render();
    let samples = samples(&text);
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    ] {
        assert!(samples[name] > 0.0, "{name}");
    }
    assert!(samples.contains_key("process_cpu_seconds_total"));
}

#[test]
fn two_gateways_in_one_process_share_nothing() {
    let (one, other) = (telemetry(), telemetry());
    one.worker().finished(&call());
    let _worker = other.worker();
    assert_eq!(
        value(&one, r#"keyward_decisions_total{decision="accepted"}"#),
        1.0
    );
    assert_eq!(
        value(&other, r#"keyward_decisions_total{decision="accepted"}"#),
        0.0
    );
}

/// The table of `docs/metrics.md`.
fn documentation() -> String {
    let mut table = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    table
}

#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let table: String = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(table, documentation());
}

#[test]
fn what_is_shown_is_what_is_documented() {
    let telemetry = telemetry();
    let worker = telemetry.worker();
    worker.finished(&call());
    worker.would_limit(TierSlot::NONE, Which::Account);
    worker.checked(Endpoint::Validate, Decision::ACCEPTED);
    let text = telemetry.render();
    let mut shown = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let described = ALL
            .iter()
            .find(|metric| metric.name == name)
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(kind, described.kind, "{name}");
        assert!(
            text.contains(&format!("# HELP {name} {}\n", described.help)),
            "help of {name}"
        );
        assert!(shown.insert(name), "{name} has two families");
    }
    // What other modules observe comes from them; everything else is here.
    let observed = [
        "_cache_entries",
        "_limiter_",
        "_sync_",
        "_replica_",
        "_ledger_",
        "_access_log_",
        "_config_",
        "_upgrades_",
    ];
    for metric in ALL
        .iter()
        .filter(|metric| !observed.iter().any(|part| metric.name.contains(part)))
    {
        assert!(
            shown.contains(metric.name),
            "{} is documented and not shown",
            metric.name
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_counted_stays_readable(
        route in any::<Option<u16>>(), upstream in any::<Option<u16>>(), status in any::<u16>(), decision in any::<u8>(),
        nanoseconds in any::<u64>(), tier in ".{0,12}"
    ) {
        let telemetry = telemetry();
        let worker = telemetry.worker();
        let (duration, tier) = (Duration::from_nanos(nanoseconds), telemetry.tier(&tier));
        worker.finished(&Finished {
            route, upstream, status, decision: Decision(decision), duration, tier, overhead: Duration::MAX,
            upstream_time: duration, bytes_in: u64::MAX, bytes_out: 0,
        });
        worker.finished(&call());
        let samples = samples(&telemetry.render());
        prop_assert_eq!(samples["keyward_overhead_seconds_count"], 2.0);
    }
}
