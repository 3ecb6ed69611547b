//! What is no question does no harm: whoever asks well meanwhile is answered, and nothing stays open.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use keyward_contract::{KeyKind, Limits};

use super::forward_auth;
use crate::cut::eventually;
use crate::fixture::{Keys, World};

const QUICK: &str = "[timeouts]\nfirst_byte = \"200ms\"\nrequest_headers = \"200ms\"\nrequest_body_idle = \"200ms\"\nidle = \"300ms\"\n\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the gateway closes this connection by itself.
fn ends(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) if begun.elapsed() < Duration::from_secs(10) => {}
            Ok(_) => return false,
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn garbage_ends_its_own_connection_and_nothing_else() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, QUICK);
    let huge = format!(
        "GET /auth HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    let many = format!("GET /auth HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(500));
    // A frame of headers that are no HPACK, of a length that is none, and one of an unknown kind.
    let bad_frames = [
        PREFACE,
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, 4, 1, 5, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    let long_frame = [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let broken_preface = b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec();
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\0\0\0\0".to_vec(),
        huge.into_bytes(),
        many.into_bytes(),
        bad_frames,
        long_frame,
        broken_preface,
        b"PR".to_vec(),
        b"PRI".to_vec(),
        b"G".to_vec(),
        b"GET /auth HTTP/1.1\r\nhost:".to_vec(),
        b"POST /v1/validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{".to_vec(),
        PREFACE.to_vec(),
        Vec::new(),
    ] {
        let mut stream = super::connect(&world);
        // It may be closed before all of it is out.
        let _ = stream.write_all(&bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(ends(stream), "still open: {shown:?}");
        assert_eq!(forward_auth(&world, "/", &[("x-api-key", key.text())]).status, 200);
    }
    eventually("no connection is open", || {
        let metrics = world.gateway.as_ref().unwrap().shared().telemetry.render();
        metrics.lines().any(|line| line == "keyward_connections 0")
    });
}

#[test]
fn a_question_that_comes_slowly_is_no_idle_connection() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let slow = QUICK.replace("request_body_idle = \"200ms\"", "request_body_idle = \"10s\"");
    let world = World::start(&keys, &slow);
    let body = format!("{{\"account_key\":\"{}\"}}", key.text());
    let head = "POST /v1/validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length";
    let mut stream = super::connect(&world);
    write!(stream, "{head}: {}\r\n\r\n", body.len()).unwrap();
    // Longer than a head may take, and than a connection may be idle.
    for byte in body.bytes() {
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(crate::fixture::read_answer(&mut stream).json()["allowed"], true);
}

#[test]
fn an_idle_http2_connection_ends_and_one_that_is_used_does_not() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1_000_000,
            burst: 1_000_000,
        };
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, QUICK);
    let envoy = super::Envoy::connect(&world);
    let question = || super::check("GET", "/", &[("x-api-key", key.text())]);
    let accepted = || {
        let metrics = world.gateway.as_ref().unwrap().shared().telemetry.render();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("keyward_connections_accepted_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    // Longer than any of the limits that hold for HTTP/1.1.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_200) {
        assert_eq!(envoy.verdict(&world, question()).status, 200);
    }
    assert_eq!(accepted(), 1);
    eventually("the idle connection ends", || {
        let metrics = world.gateway.as_ref().unwrap().shared().telemetry.render();
        metrics.lines().any(|line| line == "keyward_connections 0")
    });
}

#[test]
fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let world = World::start(&Keys::new(), QUICK);
    for half in [
        &b"POST /v1/validate HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"[..],
        PREFACE,
        b"PR",
    ] {
        let mut stream = super::connect(&world);
        stream.write_all(half).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    eventually("no connection is open", || {
        let metrics = world.gateway.as_ref().unwrap().shared().telemetry.render();
        metrics.lines().any(|line| line == "keyward_connections 0")
            && metrics.lines().any(|line| line == "keyward_requests_in_flight 0")
    });
}

#[test]
fn a_drain_answers_what_was_asked_and_ends_every_connection() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    let envoy = super::Envoy::connect(&world);
    let kept = super::connect(&world);
    let question = super::check("GET", "/", &[("x-api-key", key.text())]);
    assert_eq!(envoy.verdict(&world, question).status, 200);
    let begun = Instant::now();
    world.drain();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(ends(kept));
}
