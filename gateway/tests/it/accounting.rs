//! What is counted and logged, whatever way a call ends.

use std::io::Write;
use std::time::{Duration, Instant};

use keyward_contract::KeyKind;
use serde_json::Value;

use crate::fixture::{Keys, World, get};

/// The lines of the access log, once there are so many.
fn log_lines(world: &World, count: usize) -> Vec<Value> {
    let path = world.folder().join("access.log");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {count} lines: {text}",
            lines.len()
        );
        std::thread::yield_now();
    }
}

pub(crate) fn counted(world: &World, field: impl Fn(&keyward_contract::feed::UsageCounter) -> u64) -> u64 {
    let ledger = &world.gateway.as_ref().unwrap().shared().ledger;
    let report = ledger.report(1_000);
    ledger.withdrawn();
    report.map_or(0, |report| report.counters.iter().map(field).sum())
}

#[test]
fn a_client_that_goes_away_is_logged_as_499_and_its_call_is_counted() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let route = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"";
    let log = "[access_log]\npath = \"{folder}/access.log\"\nsample = 1.0";
    let world = World::start(&keys, &format!("{route}\n{log}"));
    let mut stream = world.connect();
    stream
        .write_all(get("/delay/3000?secret=1", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    // Gone once the upstream has the call.
    let seen = || world.get("/count", &[("x-api-key", key.text())]).body;
    let deadline = Instant::now() + Duration::from_secs(10);
    let first = seen();
    while seen() == first {
        assert!(Instant::now() < deadline, "the upstream was never called");
    }
    drop(stream);
    let is_gone = |line: &&Value| line["path"] == "/delay/3000";
    let deadline = Instant::now() + Duration::from_secs(10);
    let line = loop {
        let lines = log_lines(&world, 1);
        if let Some(line) = lines.iter().find(is_gone) {
            break line.clone();
        }
        assert!(Instant::now() < deadline, "{lines:?}");
    };
    assert_eq!(
        (&line["status"], &line["code"]),
        (&499.into(), &"accepted".into())
    );
    assert_eq!(line["account"], account.id.to_string());
    assert!(!line.to_string().contains("secret") && !line.to_string().contains(key.text()));
    let is_accepted = |line: &&Value| line["code"] == "accepted";
    let accepted = counted(&world, |counter| counter.accepted);
    // Lines come a moment after their calls.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let calls = log_lines(&world, 1).iter().filter(is_accepted).count() as u64;
        if calls == accepted {
            break;
        }
        assert!(
            calls < accepted && Instant::now() < deadline,
            "{calls} lines of {accepted} calls"
        );
        std::thread::yield_now();
    }
}

#[test]
fn refusals_are_counted_as_such_and_never_as_validations() {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.limits = keyward_contract::Limits { rate: 1, burst: 2 });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let revoked = keys.key(KeyKind::Account, &account, |key| {
        key.state = keyward_contract::KeyState::Revoked
    });
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    let statuses: Vec<_> = (0..5)
        .map(|_| world.get("/", &[("x-api-key", key.text())]).status)
        .collect();
    assert_eq!(world.get("/", &[("x-api-key", revoked.text())]).status, 401);
    let of = |status| statuses.iter().filter(|known| **known == status).count() as u64;
    assert_eq!(counted(&world, |counter| counter.accepted), of(200));
    assert_eq!(counted(&world, |counter| counter.rate_limited), of(429));
    assert_eq!(counted(&world, |counter| counter.auth_refused), 1);
}
