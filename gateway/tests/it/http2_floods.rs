//! What a client may not do to an HTTP/2 connection. Whatever it does, it is bounded, the connection ends, and the next caller
//! is served.

use keyward_contract::KeyKind;

use crate::cut::{eventually, metric};
use crate::fixture::{Keys, World};
use crate::http2_client::{Frames, Http2, fields, frame, head};

const CONFIG: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n\
    [timeouts]\nidle = \"1s\"\nwrite_stall = \"500ms\"\nrequest_body_idle = \"500ms\"\n";

/// Sends this until the connection ends, and sees that nobody else has noticed.
#[track_caller]
fn check(what: &str, first: &[u8], again: impl Fn(u32) -> Vec<u8>) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, CONFIG);
    let mut attacker = Frames::open(&world);
    attacker.send(first);
    // Answers are read as they come, or they would stop the flood before the gateway does.
    let mut reader = attacker.0.try_clone().unwrap();
    let drain = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let mut sent = 0u32;
    while sent < 500_000 && attacker.send(&again(sent)) {
        sent += 1;
    }
    let _ended = drain.join().unwrap();
    assert!(sent < 500_000, "{what} can go on for ever");
    eventually("all of it is over", || {
        metric(&world, "keyward_connections ") == Some(0)
            && metric(&world, "keyward_requests_in_flight ") == Some(0)
    });
    let next = Http2::open(&world).get("/", &[("x-api-key", key.text())]);
    assert_eq!(next.answer.status, 200, "after {what}");
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

#[test]
fn pings() {
    check("pings", &[], |_| frame(6, 0, 0, &[7; 8]));
}

#[test]
fn settings() {
    check("settings", &[], |_| frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]));
}

#[test]
fn frames_that_nobody_knows() {
    check("unknown frames", &[], |_| frame(0xee, 0, 0, &[]));
}

#[test]
fn priorities() {
    check("priorities", &[], |number| {
        frame(2, 0, stream(number % 1_000), &[0, 0, 0, 0, 1])
    });
}

#[test]
fn updates_of_a_window() {
    check("window updates", &[], |_| frame(8, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn calls_taken_back() {
    check("a rapid reset", &[], |number| {
        [
            head(stream(number), "/", &[]),
            frame(3, 0, stream(number), &[0, 0, 0, 8]),
        ]
        .concat()
    });
}

#[test]
fn a_head_that_never_ends() {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let first = frame(1, 1, 1, &fields(&pseudo));
    check("continuations", &first, |_| {
        frame(9, 0, 1, &fields(&[("x-a", "b")]))
    });
    let first = frame(1, 1, 1, &fields(&pseudo));
    check("empty continuations", &first, |_| frame(9, 0, 1, &[]));
}

#[test]
fn pieces_of_a_body_without_anything() {
    let pseudo = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    let first = frame(1, 4, 1, &fields(&pseudo));
    check("empty data", &first, |_| frame(0, 0, 1, &[]));
    let first = frame(1, 4, 1, &fields(&pseudo));
    check("data of a byte", &first, |_| frame(0, 0, 1, b"x"));
}

#[test]
fn more_streams_than_there_may_be() {
    check("streams without end", &[], |number| {
        let pseudo = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ];
        frame(1, 4, stream(number), &fields(&pseudo))
    });
}

#[test]
fn crumbs_of_cookies_on_streams_that_take_nothing() {
    // No window: nothing of an answer can go out.
    let first = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    check("crumbs", &first, |number| {
        let mut list = vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a"),
        ];
        list.extend(std::iter::repeat_n(("cookie", "a"), 700));
        frame(1, 5, stream(number), &fields(&list))
    });
}

#[test]
fn a_table_of_compression_that_is_changed_for_ever() {
    // Each sets the size of the table to nothing and back (RFC 7541 §6.3).
    check("table sizes", &[], |number| {
        frame(
            1,
            5,
            stream(number),
            &[&[0x20, 0x3f, 0xe1, 0x1f][..]; 300].concat(),
        )
    });
}
