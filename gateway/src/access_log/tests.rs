use std::fs;
use std::path::Path;
use std::time::Instant;

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, UnixMillis};
use serde_json::{Value, json};

use super::*;
use crate::telemetry::{Telemetry, TelemetryShape};

fn entry(path: &str) -> Entry {
    Entry {
        time: UnixMillis(1_768_818_600_123),
        request_id: "req-1".to_owned(),
        method: http::Method::GET,
        host: "api.example.com".to_owned(),
        path: path.to_owned(),
        route: Some("/v1".into()),
        status: 200,
        code: "accepted",
        would_limit: Some("account"),
        account: Some(account()),
        environment: Some(Environment::Production),
        key_id: None,
        customer: Some("c012345678901234567890abc".parse::<CustomerId>().unwrap()),
        endpoint: None,
        client: "192.0.2.7".parse().unwrap(),
        bytes_in: 1,
        bytes_out: 2,
        duration: Duration::from_micros(1_500),
        upstream_time: None,
    }
}

fn account() -> AccountId {
    "01890000-0000-7000-8000-000000000001".parse().unwrap()
}

fn config(path: &Path, sample: f64) -> keyward_config::AccessLog {
    keyward_config::AccessLog {
        path: Some(path.to_owned()),
        sample,
        refusals: true,
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_logged_call_is_one_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&config(&path, 1.0)).unwrap();
    let worker = log.worker();
    assert!(worker.wants(Sampling::of(&config(&path, 1.0)), Verdict::Accepted));
    worker.log(entry("/v1/orders"));
    let key_id = KeyId::new();
    worker.log(Entry {
        key_id: Some(key_id),
        upstream_time: Some(Duration::from_millis(1)),
        route: None,
        account: None,
        customer: None,
        environment: None,
        status: 404,
        code: "route_not_found",
        would_limit: None,
        host: "\"\n\u{1}".to_owned(),
        ..entry("")
    });
    assert!(log.close(Duration::from_secs(10)));
    assert_eq!(
        lines(&path),
        [
            json!({
                "time": "2026-01-19T10:30:00.123Z", "request_id": "req-1", "method": "GET", "host": "api.example.com",
                "path": "/v1/orders", "route": "/v1", "status": 200, "code": "accepted", "wouldLimit": "account",
                "account": "01890000-0000-7000-8000-000000000001", "environment": "production", "key_id": null,
                "customer": "c012345678901234567890abc", "client": "192.0.2.7", "endpoint": null, "bytes_in": 1, "bytes_out": 2,
                "duration_us": 1500, "upstream_us": null,
            }),
            json!({
                "time": "2026-01-19T10:30:00.123Z", "request_id": "req-1", "method": "GET", "host": "\"\n\u{1}",
                "path": "", "route": null, "status": 404, "code": "route_not_found", "wouldLimit": null,
                "account": null, "environment": null, "key_id": key_id.to_string(),
                "customer": null, "client": "192.0.2.7", "endpoint": null, "bytes_in": 1, "bytes_out": 2,
                "duration_us": 1500, "upstream_us": 1000,
            }),
        ]
    );
}

#[test]
fn no_credential_and_no_query_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let secret = "Zz0123456789abcdefghijklmnopqrstuvwxyzA1";
    let log = AccessLog::start(&config(&path, 1.0)).unwrap();
    let worker = log.worker();
    worker.log(Entry {
        request_id: format!("pk_live_{secret}"),
        host: format!("ck_test_{secret}"),
        ..entry(&format!("/v1/ak_{secret}?key=hunter2"))
    });
    assert!(log.close(Duration::from_secs(10)));
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(secret) && !text.contains("hunter2"), "{text}");
    assert_eq!(lines(&path)[0]["path"], "/v1/ak_***");
}

#[test]
fn lines_are_written_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&config(&path, 1.0)).unwrap();
    log.worker().log(entry("/v1"));
    eventually("the line is written", || {
        fs::read_to_string(&path).unwrap().ends_with("}\n")
    });
}

#[test]
fn after_a_reopen_lines_go_to_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let log = AccessLog::start(&config(&path, 1.0)).unwrap();
    let worker = log.worker();
    worker.log(entry("/before"));
    eventually("the first line is written", || {
        fs::metadata(&path).unwrap().len() > 0
    });
    fs::rename(&path, &old).unwrap();
    log.reopen();
    eventually("the file is made anew", || path.exists());
    worker.log(entry("/after"));
    assert!(log.close(Duration::from_secs(10)));
    assert_eq!(lines(&old).len(), 1);
    assert_eq!(lines(&path)[0]["path"], "/after");
}

#[test]
fn a_reopen_that_fails_keeps_the_old_file_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (place, moved) = (folder.path().join("logs"), folder.path().join("moved"));
    fs::create_dir(&place).unwrap();
    let log = AccessLog::start(&config(&place.join("access.log"), 1.0)).unwrap();
    fs::rename(&place, &moved).unwrap();
    log.reopen();
    let worker = log.worker();
    worker.log(entry("/v1"));
    assert!(log.close(Duration::from_secs(10)));
    assert_eq!(lines(&moved.join("access.log")).len(), 1);
}

#[test]
fn what_is_queued_when_the_log_closes_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::start(&config(&path, 1.0)).unwrap();
    thread::scope(|scope| {
        for worker in 0..3 {
            let log = &log;
            scope.spawn(move || {
                let handle = log.worker();
                for n in 0..1_000 {
                    handle.log(entry(&format!("/{worker}/{n}")));
                }
            });
        }
    });
    assert!(log.close(Duration::from_secs(10)));
    let mut paths: Vec<String> = lines(&path).iter().map(|line| line["path"].to_string()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 3_000);
}

fn counts(log: Arc<AccessLog>) -> (f64, f64, f64) {
    let telemetry = Telemetry::new(TelemetryShape {
        routes: vec![],
        upstreams: vec![],
        decisions: &["accepted"],
        version: "1",
    });
    telemetry.observe(Box::new(move |sums| log.observe(sums)));
    let text = telemetry.render();
    let value = |outcome: &str| {
        let series = format!("keyward_access_log_lines_total{{outcome=\"{outcome}\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&series))
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    (value("written"), value("dropped"), value("failed"))
}

#[test]
fn a_full_queue_drops_lines_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = Arc::new(AccessLog::start(&config(&path, 1.0)).unwrap());
    // Nobody empties this queue any more.
    assert!(log.close(Duration::from_secs(10)));
    let worker = log.worker();
    for _ in 0..QUEUE + 7 {
        worker.log(entry("/v1"));
    }
    assert_eq!(counts(log), (0.0, 7.0, 0.0));
}

#[test]
fn a_full_disk_loses_lines_and_counts_them() {
    let log = Arc::new(AccessLog::start(&config(Path::new("/dev/full"), 1.0)).unwrap());
    let worker = log.worker();
    (0..5).for_each(|_| worker.log(entry("/v1")));
    assert!(log.close(Duration::from_secs(10)));
    assert_eq!(counts(log), (0.0, 0.0, 5.0));
}

#[test]
fn a_file_that_can_not_be_opened_is_an_error_at_once() {
    assert!(AccessLog::start(&config(Path::new("/nowhere/at/all"), 1.0)).is_err());
}

#[test]
fn without_a_path_nothing_is_wanted() {
    let none = keyward_config::AccessLog {
        path: None,
        sample: 1.0,
        refusals: true,
    };
    let log = AccessLog::start(&none).unwrap();
    let (worker, sampling) = (log.worker(), Sampling::of(&none));
    assert!(!worker.wants(sampling, Verdict::Accepted) && !worker.wants(sampling, Verdict::Refused));
    worker.log(entry("/v1"));
    assert!(log.close(Duration::ZERO));
}

#[test]
fn the_share_that_was_asked_for_is_logged_and_refusals_always() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let wanted = |sample: f64, refusals: bool, verdict: Verdict| {
        let config = keyward_config::AccessLog {
            refusals,
            ..config(&path, sample)
        };
        let log = AccessLog::start(&config).unwrap();
        let (worker, sampling) = (log.worker(), Sampling::of(&config));
        (0..20_000).filter(|_| worker.wants(sampling, verdict)).count()
    };
    assert_eq!(wanted(0.0, true, Verdict::Accepted), 0);
    assert_eq!(wanted(1.0, false, Verdict::Accepted), 20_000);
    assert_eq!(wanted(0.0, true, Verdict::Refused), 20_000);
    assert_eq!(wanted(0.0, false, Verdict::Refused), 0);
    assert_eq!(wanted(f64::NAN, false, Verdict::Accepted), 0);
    // Ten standard deviations to either side.
    for share in [
        wanted(0.25, true, Verdict::Accepted),
        wanted(0.25, false, Verdict::Refused),
    ] {
        assert!((4_390..=5_610).contains(&share), "{share}");
    }
}
