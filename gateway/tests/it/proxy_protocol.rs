//! The PROXY protocol on the proxy listener: whose connection it is, and who may say so.

use std::io::{Read, Write};
use std::net::TcpStream;

use keyward_contract::KeyKind;

use crate::cut::{eventually, metric};
use crate::fixture::{Answer, Key, Keys, World, allowed, get, read_answer};
use crate::http2_client::{Frames, PREFACE, frame, head};

fn world(trusted: &str) -> (World, Key) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.7", "127.0.0.1"])
    });
    let config = format!(
        "trusted_proxies = [{trusted}]\n[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n\
         [timeouts]\nhandshake = \"300ms\"\n[listen]\nproxy_protocol = true\n"
    );
    (World::start(&keys, &config), key)
}

const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x30\x39\x00\x50";

fn ask(world: &World, header: &[u8], request: &str) -> Answer {
    let mut stream = world.connect();
    // Byte by byte: it must not matter how it is cut, nor may a byte of the request be lost.
    for byte in [header, request.as_bytes()].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    read_answer(&mut stream)
}

#[test]
fn a_trusted_proxy_says_whose_connection_it_is() {
    let (world, key) = world("\"127.0.0.0/8\"");
    let key = ("x-api-key", key.text());
    for (header, seen, status) in [
        (
            &b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n"[..],
            "192.0.2.7",
            200,
        ),
        (BINARY, "192.0.2.7", 200),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1", 200),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7", 200),
        (b"PROXY TCP4 192.0.2.8 127.0.0.1 12345 80\r\n", "", 403),
    ] {
        let answer = ask(
            &world,
            header,
            &get("/", &[key, ("x-forwarded-for", "192.0.2.7")]),
        );
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            // What an untrusted client says of itself is dropped; of the proxy's own connection it is the proxy that says it.
            let expected = if seen == "127.0.0.1" {
                "192.0.2.7, 127.0.0.1"
            } else {
                seen
            };
            assert_eq!(answer.upstream_saw("x-forwarded-for").as_deref(), Some(expected));
        }
    }
    // Whom it names may be a trusted proxy itself, and then says who is behind it.
    let behind = get("/", &[key, ("x-forwarded-for", "192.0.2.7")]);
    let header = b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n";
    let answer = ask(&world, header, &behind);
    assert_eq!(
        answer.upstream_saw("x-forwarded-for").as_deref(),
        Some("192.0.2.7, 127.0.0.9")
    );
    // It speaks for itself, whatever addresses stand there.
    let local = [&BINARY[..12], b"\x20", &BINARY[13..]].concat();
    let answer = ask(&world, &local, &get("/", &[key]));
    assert_eq!(
        answer.upstream_saw("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    // What it tells beside the addresses is passed over, and what comes in one piece with it is not.
    let with_values = [&BINARY[..15], &[12 + 7], &BINARY[16..], b"\x04\x00\x04abcd"].concat();
    let whole = [&with_values[..], get("/", &[key]).as_bytes()].concat();
    assert_eq!(
        world.send(&whole).upstream_saw("x-forwarded-for").as_deref(),
        Some("192.0.2.7")
    );
    let mut stream = world.connect();
    stream.write_all(&[BINARY, PREFACE].concat()).unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    stream.write_all(&head(1, "/", &[key])).unwrap();
    let mut frames = Frames(stream);
    assert!(std::iter::from_fn(|| frames.next()).any(|(kind, _, stream, _)| (kind, stream) == (1, 1)));
}

#[test]
fn a_trusted_proxy_must_say_it_rightly_and_in_time() {
    let (world, _key) = world("\"127.0.0.0/8\"");
    for sent in [
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.7 127.0.0.1 99999 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.7",
        b"",
    ] {
        let mut stream = world.connect();
        stream.write_all(sent).unwrap();
        assert_eq!(rest(&mut stream), "");
    }
    eventually("both reasons are counted", || {
        let turned = |reason: &str| {
            metric(
                &world,
                &format!("keyward_connections_turned_away_total{{reason=\"{reason}\"}} "),
            )
        };
        (turned("proxy_protocol"), turned("slow")) == (Some(2), Some(2))
    });
    assert_eq!(world.upstream_calls(), 0);
}

#[test]
fn whoever_is_not_trusted_speaks_for_itself() {
    let (world, key) = world("\"192.0.2.0/24\"");
    let answer = world.get("/", &[("x-api-key", key.text())]);
    assert_eq!(
        answer.upstream_saw("x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    let mut stream = world.connect();
    stream
        .write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 400 "));
}

/// What comes until the connection ends.
fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _reset = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}
