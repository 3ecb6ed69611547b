//! Requests that could be read in two ways are refused, and nothing of them reaches the upstream.

use std::io::{Read, Write};

use keyward_contract::KeyKind;

use crate::fixture::{Keys, World, read_answer};

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    let count = || world.get("/count", &[("x-api-key", key.text())]).body;
    let before: u64 = std::str::from_utf8(&count()).ok().and_then(digits).unwrap();
    let head = format!("x-api-key: {}\r\n", key.text());
    let cases: &[(&str, u16)] = &[
        ("GET / HTTP/1.1\r\n{}\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n{}\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a@b\r\n{}\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nhost: a\r\n{}\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\n{}transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\n{}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\n{}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\n{}transfer-encoding: gzip\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\n{}content-length: 1\r\ncontent-length: 2\r\n\r\nxx",
            400,
        ),
        ("POST / HTTP/1.1\r\nhost: a\r\n{}content-length: +1\r\n\r\nx", 400),
        ("GET / HTTP/1.1\r\nhost : a\r\n{}\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\n folded: x\r\n{}\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n{}\r\n", 400),
        ("TRACE / HTTP/1.1\r\nhost: a\r\n{}\r\n", 405),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n{}\r\n", 405),
        ("GET * HTTP/1.1\r\nhost: a\r\n{}\r\n", 400),
    ];
    for (request, status) in cases {
        let request = request.replace("{}", &head);
        assert_eq!(world.call(&request).status, *status, "{request}");
    }
    let after: u64 = std::str::from_utf8(&count()).ok().and_then(digits).unwrap();
    // The two look-ups of the count are all that the upstream saw.
    assert!(after - before <= 1, "{before} {after}");
}

fn digits(text: &str) -> Option<u64> {
    text.chars()
        .filter(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .ok()
}

#[test]
fn both_framings_together_end_the_connection_after_one_answer() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"",
    );
    let mut stream = world.connect();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        key.text()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    if answer.status == 200 {
        assert_eq!(
            answer.upstream_saw("content-length").as_deref().unwrap_or("0"),
            "0"
        );
    }
    let mut rest = Vec::new();
    assert_eq!(
        stream.read_to_end(&mut rest).unwrap_or_default(),
        0,
        "{}",
        String::from_utf8_lossy(&rest)
    );
}

#[test]
fn a_head_over_its_bounds_is_refused() {
    let mut keys = Keys::new();
    keys.account(|_| {});
    let world = World::start(&keys, "");
    assert_eq!(world.get(&format!("/{}", "a".repeat(9_000)), &[]).status, 414);
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(
        world
            .call(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"))
            .status,
        431
    );
    let large = "x".repeat(40_000);
    assert_eq!(
        world
            .call(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {large}\r\n\r\n"))
            .status,
        431
    );
}
