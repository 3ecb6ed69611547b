//! A machine that is not well gets no calls, and gets them again when it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use crate::cut::eventually;
use crate::fixture::{Key, World};
use crate::scripted::{Machine, Then, answer, say};
use crate::upstream_faults::{before, call, in_flight, patient};

/// A machine that answers its checks with a status that a test sets, and calls with its name.
fn checked(name: &'static str) -> (Machine, Arc<AtomicU16>) {
    let health = Arc::new(AtomicU16::new(200));
    let status = Arc::clone(&health);
    let machine = Machine::start(move |request, stream| {
        if request.is_for("/up") {
            answer(stream, status.load(Ordering::SeqCst), "")
        } else {
            answer(stream, 200, name)
        }
    });
    (machine, health)
}

const CHECKS: &str = "path = \"/up\", interval = \"50ms\", healthy = 2, unhealthy = 2";

fn healthy(world: &World) -> f64 {
    world.metric("keyward_upstream_healthy{upstream=\"scripted\"}")
}

/// Who answers, of so many calls.
fn answers(world: &World, key: &Key, calls: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..calls)
        .map(|_| String::from_utf8(call(world, key, "/").body).unwrap())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_machine_whose_checks_fail_gets_no_calls_until_they_are_good_again() {
    let ((a, health), (b, _)) = (checked("a"), checked("b"));
    let (world, key) = patient(&[a.address, b.address], &format!("health = {{ {CHECKS} }}"));
    assert_eq!(
        world.metric("keyward_upstream_machines{upstream=\"scripted\"}"),
        2.0
    );
    assert_eq!(answers(&world, &key, 8), ["a", "b"]);
    for _ in 0..2 {
        health.store(500, Ordering::SeqCst);
        eventually("one that is out", || healthy(&world) == 1.0);
        let before = a.seen("/").len();
        assert_eq!(answers(&world, &key, 8), ["b"]);
        assert_eq!(a.seen("/").len(), before);
        let state = world.admin("/debug/state").json();
        assert_eq!(state["upstreams"][0]["machines"][0]["state"], "unhealthy");
        health.store(204, Ordering::SeqCst);
        eventually("both back", || healthy(&world) == 2.0);
        assert_eq!(answers(&world, &key, 8), ["a", "b"]);
    }
    assert!(world.metric("keyward_upstream_checks_total{upstream=\"scripted\",outcome=\"bad\"}") >= 4.0);
    let check = &a.seen("/up")[0];
    assert!(check.contains(&format!("host: {}\r\n", a.address)), "{check}");
}

#[test]
fn a_check_counts_only_what_is_expected_and_in_time() {
    let moved = Machine::start(|request, stream| {
        answer(stream, if request.is_for("/up") { 204 } else { 200 }, "moved")
    });
    let silent = Machine::start(|request, stream| {
        if request.is_for("/up") {
            Then::Hang
        } else {
            answer(stream, 200, "silent")
        }
    });
    let (well, _) = checked("well");
    let (world, key) = patient(
        &[moved.address, silent.address, Machine::nobody(), well.address],
        &format!("health = {{ {CHECKS}, timeout = \"100ms\", expect = [200], panic_threshold = \"0%\" }}"),
    );
    eventually("one that is well", || healthy(&world) == 1.0);
    assert_eq!(answers(&world, &key, 8), ["well"]);
}

#[test]
fn with_no_machine_well_calls_are_503_and_free() {
    let (machine, health) = checked("a");
    let (world, key) = patient(
        &[machine.address],
        &format!("health = {{ {CHECKS}, panic_threshold = \"0%\" }}"),
    );
    health.store(503, Ordering::SeqCst);
    eventually("none that is well", || healthy(&world) == 0.0);
    for _ in 0..3 {
        let refused = call(&world, &key, "/");
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "UPSTREAM_UNAVAILABLE")
        );
        assert_eq!(refused.header("x-ratelimit-remaining"), Some("200"));
    }
    assert_eq!(machine.seen("/").len(), 0);
    health.store(200, Ordering::SeqCst);
    eventually("it is back", || healthy(&world) == 1.0);
    assert_eq!(call(&world, &key, "/").body, b"a");
}

#[test]
fn with_too_few_machines_well_all_are_used() {
    let ((a, a_health), (b, b_health), (c, _)) = (checked("a"), checked("b"), checked("c"));
    let (world, key) = patient(
        &[a.address, b.address, c.address],
        &format!("health = {{ {CHECKS}, panic_threshold = \"50%\" }}"),
    );
    a_health.store(500, Ordering::SeqCst);
    eventually("one that is out", || healthy(&world) == 2.0);
    assert_eq!(answers(&world, &key, 9), ["b", "c"]);
    b_health.store(500, Ordering::SeqCst);
    eventually("two that are out", || healthy(&world) == 1.0);
    assert_eq!(world.metric("keyward_upstream_panic{upstream=\"scripted\"}"), 1.0);
    assert_eq!(answers(&world, &key, 9), ["a", "b", "c"]);
}

/// A machine that fails in this way while it is told to.
fn failing(
    fault: impl Fn(&mut std::net::TcpStream) -> Then + Send + Sync + 'static,
) -> (Machine, Arc<AtomicBool>) {
    let is_failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&is_failing);
    let machine = Machine::start(move |_, stream| {
        if fails.load(Ordering::SeqCst) {
            fault(stream)
        } else {
            answer(stream, 200, "a")
        }
    });
    (machine, is_failing)
}

const PASSIVE: &str = "health = { passive = { failures = 3, ejection = \"1s\" } }";

#[track_caller]
fn check_ejected(fault: impl Fn(&mut std::net::TcpStream) -> Then + Send + Sync + 'static) {
    let (machine, is_failing) = failing(fault);
    let good = Machine::named("b");
    let (world, key) = before(&[machine.address, good.address], PASSIVE);
    eventually("one that is out", || {
        let _ = world.send(
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-api-key: {}\r\n\r\n",
                key.text()
            )
            .as_bytes(),
        );
        healthy(&world) == 1.0
    });
    let failed = machine.seen("/").len();
    assert!((3..=4).contains(&failed), "{failed}");
    assert_eq!(answers(&world, &key, 6), ["b"]);
    assert_eq!(machine.seen("/").len(), failed);
    assert_eq!(
        world.metric("keyward_upstream_ejections_total{upstream=\"scripted\"}"),
        1.0
    );
    is_failing.store(false, Ordering::SeqCst);
    eventually("it is back", || healthy(&world) == 2.0);
    assert_eq!(answers(&world, &key, 8), ["a", "b"]);
    eventually("no call in flight", || in_flight(&world) == 0.0);
}

#[test]
fn a_machine_that_fails_calls_is_put_out_for_a_time() {
    check_ejected(|stream| answer(stream, 503, "x"));
    check_ejected(|_| Then::Close);
    check_ejected(|stream| {
        say(stream, "no HTTP\r\n\r\n");
        Then::Close
    });
    check_ejected(|_| Then::Hang);
}

#[test]
fn a_body_that_breaks_off_is_a_failure_of_its_machine() {
    let (machine, _) = failing(|stream| {
        say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart");
        Then::Close
    });
    let good = Machine::named("b");
    let (world, key) = patient(
        &[machine.address, good.address],
        "health = { passive = { failures = 3, ejection = \"1h\", max_ejection = \"1h\" } }",
    );
    eventually("one that is out", || {
        use std::io::{Read as _, Write as _};
        let mut stream = world.connect();
        let request = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-api-key: {}\r\n\r\n",
            key.text()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        healthy(&world) == 1.0
    });
    assert_eq!(answers(&world, &key, 6), ["b"]);
}

#[test]
fn answers_that_are_no_failures_put_nobody_out() {
    let (machine, _) = failing(|stream| answer(stream, 500, "x"));
    let good = Machine::named("b");
    let (world, key) = patient(&[machine.address, good.address], PASSIVE);
    (0..20).for_each(|_| drop(call(&world, &key, "/")));
    assert_eq!(healthy(&world), 2.0);
    assert_eq!(machine.seen("/").len() + good.seen("/").len(), 20);
}

#[test]
fn failures_with_calls_between_that_go_well_put_nobody_out() {
    let machine = Machine::start(|request, stream| {
        let status = if request.number % 3 == 2 { 200 } else { 503 };
        answer(stream, status, "a")
    });
    let good = Machine::named("b");
    let (world, key) = patient(&[machine.address, good.address], PASSIVE);
    (0..40).for_each(|_| drop(call(&world, &key, "/")));
    assert_eq!(healthy(&world), 2.0);
    assert!(machine.seen("/").len() >= 15);
}

#[test]
fn one_of_one_is_never_put_out() {
    let (machine, _) = failing(|stream| answer(stream, 503, "x"));
    let (world, key) = patient(&[machine.address], PASSIVE);
    for _ in 0..10 {
        assert_eq!(call(&world, &key, "/").body, b"x");
    }
    assert_eq!(healthy(&world), 1.0);
}

#[test]
fn a_machine_that_can_not_be_reached_costs_few_calls_their_time() {
    let good = Machine::named("b");
    let (world, key) = patient(
        &[Machine::nobody(), good.address],
        "health = { passive = { failures = 2, ejection = \"1h\", max_ejection = \"1h\" } }",
    );
    (0..20).for_each(|_| assert_eq!(call(&world, &key, "/").body, b"b"));
    let failed = world.metric("keyward_upstream_failures_total{upstream=\"scripted\",reason=\"connect\"}");
    assert_eq!(failed, 2.0);
    assert_eq!(healthy(&world), 1.0);
}

#[test]
fn a_drain_does_not_wait_for_checks() {
    let silent = Machine::start(|_, _| Then::Hang);
    let (mut world, _) = patient(
        &[silent.address],
        "health = { path = \"/up\", interval = \"50ms\", timeout = \"1h\" }",
    );
    eventually("a check under way", || !silent.seen("/up").is_empty());
    let began = std::time::Instant::now();
    world.drain();
    assert!(began.elapsed() < Duration::from_secs(5));
}
