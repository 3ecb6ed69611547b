//! Whatever a client does to a call: it ends, the machine is told, and nothing of it is in the next call.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cut::eventually;
use crate::fixture::{Key, World, get, read_answer};
use crate::scripted::{Machine, Then, answer, say};
use crate::upstream_faults::{before, call, in_flight, patient};

/// `/wait` is never answered, `/stream` never ends, everything else is well.
fn machine() -> Machine {
    Machine::start(|request, stream| {
        if request.is_for("/wait") {
            return Then::Hang;
        }
        if request.is_for("/stream") {
            say(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            let piece = format!("{:x}\r\n{}\r\n", 65_536, "x".repeat(65_536));
            while stream.write_all(piece.as_bytes()).is_ok() {}
            return Then::Close;
        }
        answer(stream, 200, "well")
    })
}

#[track_caller]
fn check_over(world: &World, key: &Key, machine: &Machine) {
    eventually("no call in flight", || in_flight(world) == 0.0);
    // Those that are left are idle ones.
    eventually("no connection with half a call on it", || machine.open() <= 2);
    for _ in 0..4 {
        assert_eq!(call(world, key, "/next").body, b"well");
    }
}

fn head(method: &str, target: &str, key: &Key, more: &str) -> String {
    let key = key.text();
    format!("{method} {target} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n{more}\r\n")
}

#[test]
fn a_client_that_goes_while_its_call_waits_ends_it_at_the_machine() {
    let machine = machine();
    let (world, key) = before(&[machine.address], "");
    for round in 1..=3 {
        let mut stream = world.connect();
        stream
            .write_all(get("/wait", &[("x-api-key", key.text())]).as_bytes())
            .unwrap();
        eventually("the machine has it", || machine.seen("/wait").len() == round);
        drop(stream);
        check_over(&world, &key, &machine);
    }
}

#[test]
fn a_client_that_goes_within_its_body_ends_it_at_the_machine() {
    let machine = machine();
    let (world, key) = before(&[machine.address], "");
    for more in ["content-length: 100\r\n", "transfer-encoding: chunked\r\n"] {
        let mut stream = world.connect();
        let request = format!("{}a\r\n", head("POST", "/wait", &key, more));
        stream.write_all(request.as_bytes()).unwrap();
        drop(stream);
        check_over(&world, &key, &machine);
    }
}

#[test]
fn a_client_that_goes_within_its_answer_ends_it_at_the_machine() {
    let machine = machine();
    let (world, key) = before(&[machine.address], "");
    for _ in 0..3 {
        let mut stream = world.connect();
        stream
            .write_all(get("/stream", &[("x-api-key", key.text())]).as_bytes())
            .unwrap();
        let mut some = vec![0; 1 << 20];
        stream.read_exact(&mut some).unwrap();
        drop(stream);
        check_over(&world, &key, &machine);
    }
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let machine = machine();
    let (world, key) = before(&[machine.address], "");
    let mut stream = world.connect();
    stream
        .write_all(get("/stream", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    eventually("the machine has it", || machine.seen("/stream").len() == 1);
    check_over(&world, &key, &machine);
    drop(stream);
}

#[test]
fn a_client_that_half_closes_leaves_no_call_behind() {
    let machine = machine();
    // By the usual limits nothing would end a call that waits before the test does.
    let (world, key) = patient(&[machine.address], "");
    for target in ["/wait", "/next"] {
        let mut stream = world.connect();
        stream
            .write_all(head("GET", target, &key, "").as_bytes())
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let ended = stream.read_to_end(&mut rest);
        assert!(
            !ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "{target} goes on"
        );
        check_over(&world, &key, &machine);
    }
}

/// What the machine says on a connection that waits in the pool is thrown away with the connection.
#[test]
fn bytes_that_nobody_asked_for_on_an_idle_connection_answer_no_call() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let (say_it, said) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (may_say, has_said) = (Arc::clone(&say_it), Arc::clone(&said));
    let machine = Machine::start(move |request, stream| {
        if request.is_for("/at-once") {
            say(
                stream,
                &format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell{EVIL}"),
            );
            return Then::Keep;
        }
        // What it says has come when it has said it, and is not held back for an acknowledgement.
        stream.set_nodelay(true).unwrap();
        let then = answer(stream, 200, "well");
        if request.is_for("/later") {
            eventually("it may speak", || may_say.load(Ordering::SeqCst));
            say(stream, EVIL);
            has_said.store(true, Ordering::SeqCst);
        }
        then
    });
    let (world, key) = before(&[machine.address], "");
    // One connection, so that all calls are one worker's.
    let mut client = world.connect();
    let mut call = |target: &str| {
        let request = get(target, &[("x-api-key", key.text())]);
        client.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut client);
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"well"[..]),
            "{target}"
        );
    };
    call("/first");
    assert_eq!(machine.connections(), 1);
    call("/at-once");
    call("/second");
    assert_eq!(
        machine.connections(),
        2,
        "the one with more bytes than its answer has is closed"
    );
    call("/later");
    say_it.store(true, Ordering::SeqCst);
    eventually("it has spoken", || said.load(Ordering::SeqCst));
    for _ in 0..3 {
        call("/third");
    }
    assert_eq!(machine.connections(), 3);
}
