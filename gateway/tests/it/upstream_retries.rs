//! What is sent again: never what is not safe, never more than the budget, and always as one call.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cut::eventually;
use crate::fixture::{Answer, Key, World, read_answer};
use crate::scripted::{Machine, Request, Then, answer, say};
use crate::upstream_faults::{before, call, costly, in_flight};

const RETRIES: &str = "retries = { backoff = \"1ms\" }";

fn failing(status: u16) -> Machine {
    Machine::start(move |_, stream| answer(stream, status, "failed"))
}

fn seen(machine: &Machine) -> usize {
    machine.seen("/").len()
}

fn remaining(answer: &Answer) -> u32 {
    answer.header("x-ratelimit-remaining").unwrap().parse().unwrap()
}

fn send(world: &World, key: &Key, method: &str, body: &str) -> Answer {
    let (key, length) = (key.text(), body.len());
    let head =
        format!("{method} / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n");
    world.call(&format!("{head}{body}"))
}

fn retries(world: &World, outcome: &str) -> f64 {
    world.metric(&format!(
        "keyward_upstream_retries_total{{upstream=\"scripted\",outcome=\"{outcome}\"}}"
    ))
}

#[test]
fn a_listed_status_is_tried_on_another_machine_as_one_call() {
    let (bad, good) = (failing(503), Machine::named("good"));
    let (world, key) = costly(&[bad.address, good.address], RETRIES);
    for round in 1..=4 {
        let answer = call(&world, &key, "/");
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"good".as_slice()));
        // What comes back meanwhile is far less than what a second charge would take.
        let spent = 200 - remaining(&answer);
        assert!(
            (50 * round - 49..=50 * round).contains(&spent),
            "{spent} after {round}"
        );
    }
    assert_eq!(seen(&good), 4);
    assert!((1..=4).contains(&seen(&bad)));
    eventually("four calls that were answered 200", || {
        world.metric("keyward_upstream_requests_total{upstream=\"scripted\",code_class=\"2xx\"}") == 4.0
    });
    assert_eq!(
        world.metric("keyward_decisions_total{decision=\"accepted\"}"),
        4.0
    );
    assert_eq!(retries(&world, "sent"), seen(&bad) as f64);
}

#[test]
fn without_retries_every_answer_is_handed_on() {
    let (bad, good) = (failing(503), Machine::named("good"));
    let (world, key) = before(&[bad.address, good.address], "");
    let statuses: Vec<_> = (0..8).map(|_| call(&world, &key, "/").status).collect();
    assert_eq!(seen(&bad) + seen(&good), 8);
    assert_eq!(
        statuses.iter().filter(|status| **status == 503).count(),
        seen(&bad)
    );
}

#[test]
fn a_status_that_is_not_listed_is_handed_on() {
    let bad = failing(500);
    let (world, key) = before(&[bad.address], RETRIES);
    assert_eq!((call(&world, &key, "/").status, seen(&bad)), (500, 1));
}

#[test]
fn after_the_last_attempt_the_client_gets_the_answer() {
    let bad = failing(503);
    let (world, key) = before(&[bad.address], "retries = { attempts = 3, backoff = \"1ms\" }");
    let answer = call(&world, &key, "/");
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (503, b"failed".as_slice())
    );
    assert_eq!(seen(&bad), 3);
}

#[test]
fn a_machine_that_breaks_off_is_tried_elsewhere() {
    for then in [Then::Close, Then::Reset] {
        for part in ["", "HTTP/1.1 200 OK\r\ncontent-"] {
            let bad = Machine::start(move |_, stream| {
                say(stream, part);
                then
            });
            let good = Machine::named("good");
            let (world, key) = before(&[bad.address, good.address], RETRIES);
            for _ in 0..4 {
                assert_eq!(call(&world, &key, "/").body, b"good");
            }
            assert!(seen(&bad) >= 1);
        }
    }
}

#[test]
fn what_is_not_safe_is_never_sent_twice() {
    type Fault = fn(&Request, &mut std::net::TcpStream) -> Then;
    let faults: [Fault; 3] = [
        |_, stream| answer(stream, 503, "failed"),
        |_, _| Then::Close,
        |_, stream| {
            say(stream, "HTTP/1.1 200 OK\r\nx: ");
            Then::Reset
        },
    ];
    // By method alone; with a body; with a body that is safe but for having been sent.
    let calls = [
        ("POST", ""),
        ("PATCH", ""),
        ("POST", "x"),
        ("PUT", "x"),
        ("DELETE", "x"),
        ("GET", "x"),
    ];
    for fault in faults {
        let machines = [Machine::start(fault), Machine::start(fault)];
        let (world, key) = before(
            &machines.each_ref().map(|machine| machine.address),
            "retries = { attempts = 5, min_per_second = 1000, backoff = \"1ms\" }",
        );
        for (at, (method, body)) in calls.into_iter().enumerate() {
            let answer = send(&world, &key, method, body);
            assert!([502, 503].contains(&answer.status), "{method} {answer:?}");
            let total: usize = machines.iter().map(seen).sum();
            assert_eq!(total, at + 1, "{method} with {body:?} was sent again");
        }
        // The same machines get a call that is safe five times.
        send(&world, &key, "GET", "");
        assert_eq!(machines.iter().map(seen).sum::<usize>(), calls.len() + 5);
    }
}

#[test]
fn an_answer_that_is_thrown_away_is_in_no_other_one() {
    // Whole, in parts, without an end, and with a second one after it.
    let answers = [
        "HTTP/1.1 503 No\r\ncontent-length: 6\r\n\r\nfailed",
        "HTTP/1.1 503 No\r\ncontent-length: 1000\r\n\r\nfailed",
        "HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfailed\r\n",
        "HTTP/1.1 503 No\r\n\r\nfailed",
        "HTTP/1.1 503 No\r\ncontent-length: 6\r\n\r\nfailedHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
    ];
    for bad in answers {
        let machine = Machine::start(move |request, stream| {
            if request.number % 2 == 0 {
                say(stream, bad);
                Then::Keep
            } else {
                answer(stream, 200, "well")
            }
        });
        let (world, key) = before(&[machine.address], RETRIES);
        for _ in 0..6 {
            let answer = call(&world, &key, "/");
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (200, b"well".as_slice()),
                "{bad}"
            );
        }
        assert_eq!(seen(&machine), 12);
        eventually("no call in flight", || in_flight(&world) == 0.0);
        eventually("no connection with half an answer on it", || machine.open() <= 4);
    }
}

#[test]
fn a_small_answer_that_is_thrown_away_leaves_its_connection_to_others() {
    let machine = Machine::start(|request, stream| {
        answer(stream, if request.number % 2 == 0 { 503 } else { 200 }, "well")
    });
    let (world, key) = before(&[machine.address], RETRIES);
    let mut stream = world.connect();
    for _ in 0..10 {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\n\r\n", key.text());
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    // The second is opened while the first still has the answer that is thrown away.
    assert_eq!((seen(&machine), machine.connections()), (20, 2));
}

#[test]
fn when_the_other_machine_is_gone_the_client_gets_the_answer_that_there_is() {
    let bad = failing(503);
    let (world, key) = before(&[bad.address, Machine::nobody()], RETRIES);
    for _ in 0..4 {
        let answer = call(&world, &key, "/");
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (503, b"failed".as_slice())
        );
    }
    assert_eq!(seen(&bad), 4);
}

#[test]
fn repeats_never_exceed_the_budget() {
    const CALLS: usize = 150;
    let bad = failing(503);
    let (world, key) = before(
        &[bad.address],
        "retries = { budget = \"20%\", min_per_second = 0, backoff = \"0s\" }",
    );
    for _ in 0..CALLS {
        assert_eq!(call(&world, &key, "/").status, 503);
    }
    let repeats = seen(&bad) - CALLS;
    // Most of it is used: the calls of two workers count together.
    assert!((CALLS / 10..=CALLS / 5).contains(&repeats), "{repeats}");
    assert_eq!(retries(&world, "sent"), repeats as f64);
    assert_eq!(retries(&world, "over_budget"), (CALLS - repeats) as f64);
}

#[test]
fn few_calls_have_their_least() {
    let bad = failing(503);
    let (world, key) = before(
        &[bad.address],
        "retries = { budget = \"0%\", min_per_second = 1000, backoff = \"0s\" }",
    );
    (0..10).for_each(|_| drop(call(&world, &key, "/")));
    assert_eq!(seen(&bad), 20);
}

#[test]
fn a_repeat_that_would_come_too_late_is_left() {
    let bad = failing(503);
    let (world, key) = before(&[bad.address], "retries = { backoff = \"10s\" }");
    let began = Instant::now();
    assert_eq!(call(&world, &key, "/").status, 503);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((seen(&bad), retries(&world, "too_late")), (1, 1.0));
}

#[test]
fn a_repeat_does_not_lengthen_the_calls_time() {
    let machine = Machine::start(|request, stream| {
        if request.number == 0 {
            answer(stream, 503, "failed")
        } else {
            Then::Hang
        }
    });
    let (world, key) = before(&[machine.address], RETRIES);
    let began = Instant::now();
    let answer = call(&world, &key, "/");
    assert_eq!((answer.status, answer.code().as_str()), (504, "UPSTREAM_TIMEOUT"));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(seen(&machine), 2);
}

#[test]
fn a_connection_that_went_stale_is_no_repeat() {
    // It ends every connection a moment after its answer.
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let machine = Machine::start(move |_, stream| {
        answer(stream, 200, "well");
        count.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    let (world, key) = before(&[machine.address], "");
    for round in 1..=20 {
        assert_eq!(call(&world, &key, "/").body, b"well");
        eventually("its connection has ended", || {
            ended.load(Ordering::SeqCst) == round
        });
    }
    assert_eq!(retries(&world, "sent"), 0.0);
}

#[test]
fn a_machine_that_refuses_is_passed_over_also_for_what_is_not_safe() {
    let good = Machine::start(|_, stream| {
        use std::io::Read as _;
        stream.read_exact(&mut [0]).unwrap();
        answer(stream, 200, "good")
    });
    let (world, key) = before(&[Machine::nobody(), good.address, Machine::nobody()], "");
    for _ in 0..6 {
        assert_eq!(send(&world, &key, "POST", "x").body, b"good");
    }
    assert_eq!(seen(&good), 6);
}
