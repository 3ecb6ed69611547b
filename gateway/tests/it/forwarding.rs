//! What the upstream sees, and what comes back.

use std::io::{Read, Write};

use keyward_contract::KeyKind;

use crate::fixture::{Keys, World, get, read_answer};

const ROUTE: &str =
    "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\nmax_body = \"1KiB\"";

fn world() -> (World, String) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    (World::start(&keys, ROUTE), key.text().to_owned())
}

#[test]
fn the_upstream_is_told_who_calls() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let world = World::start(&keys, "");
    let answer = world.get(
        "/some/path?q=1",
        &[
            ("x-api-key", key.text()),
            ("x-customer-key", customer.text()),
            ("keyward-account", "forged"),
            ("x_api_key", "alias"),
            ("x-forwarded-for", "6.6.6.6"),
            ("connection", "keep-alive, x-mine, keyward-tier"),
            ("x-mine", "1"),
        ],
    );
    assert_eq!(answer.status, 200);
    let saw = |name: &str| answer.upstream_saw(name);
    assert_eq!(saw("keyward-account"), Some(account.id.to_string()));
    assert_eq!(
        saw("keyward-environment"),
        Some(account.production_environment.to_string())
    );
    assert_eq!(saw("keyward-key-id"), Some(key.record.id.to_string()));
    assert_eq!(
        saw("keyward-customer"),
        customer.record.customer.map(|id| id.to_string())
    );
    assert_eq!(saw("keyward-tier").as_deref(), Some("growth"));
    assert_eq!(saw("keyward-api-version").as_deref(), Some("2026-11-01"));
    assert_eq!(saw("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(saw("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(saw("x-forwarded-host").as_deref(), Some("api.example"));
    assert_eq!(
        saw("forwarded").as_deref(),
        Some("for=127.0.0.1;proto=http;host=\"api.example\"")
    );
    assert_eq!(saw("via").as_deref(), Some("1.1 keyward"));
    assert_eq!(saw("host").as_deref(), Some("api.example"));
    assert!(saw("traceparent").is_some() && saw("x-request-id").is_some());
    for dropped in [
        "x-api-key",
        "x-customer-key",
        "x_api_key",
        "x-mine",
        "connection",
        "authorization",
    ] {
        assert_eq!(saw(dropped), None, "{dropped}");
    }
    assert!(!String::from_utf8_lossy(&answer.body).contains(key.text()));
}

#[test]
fn the_path_is_forwarded_as_it_was_matched() {
    let (world, key) = world();
    let target = |sent: &str| {
        let answer = world.get(sent, &[("x-api-key", &key)]);
        (answer.status, answer.json()["target"].as_str().map(str::to_owned))
    };
    let echoed = |sent: &str, seen: &str| assert_eq!(target(sent), (200, Some(seen.to_owned())), "{sent}");
    echoed("/a/b?x=%2F..", "/a/b?x=%2F..");
    echoed("/a/./b/../c", "/a/c");
    echoed("/a/%2e%2e/c", "/c");
    echoed("/a//b", "/a//b");
    for refused in ["/..", "/a%2fb", "/a%5cb", "/%00", "/%zz", "/%c0%ae"] {
        assert_eq!(target(refused).0, 400, "{refused}");
    }
}

#[test]
fn bodies_are_streamed_both_ways_in_either_framing() {
    let (world, key) = world();
    let sized = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(world.call(&sized).json()["body"], "hello");
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\
         trailer: keyward-account\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nkeyward-account: forged\r\n\r\n"
    );
    let answer = world.call(&chunked);
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.upstream_saw("keyward-account").unwrap().len(), 36);
    assert_eq!(
        world.get("/bytes/300000", &[("x-api-key", &key)]).body.len(),
        300_000
    );
    assert!(!world.get("/stream/5", &[("x-api-key", &key)]).body.is_empty());
}

#[test]
fn a_body_over_the_bound_is_413_whether_it_was_announced_or_not() {
    let (world, key) = world();
    let announced = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: 1025\r\n\r\n");
    let answer = world.call(&announced);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "PAYLOAD_TOO_LARGE")
    );
    let body = "x".repeat(1_025);
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n"
    );
    assert_eq!(world.call(&chunked).status, 413);
}

#[test]
fn a_malformed_chunk_is_400_and_the_connection_ends() {
    let (world, key) = world();
    let mut stream = world.connect();
    let request =
        format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 400);
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).unwrap_or_default(), 0);
}

#[test]
fn expect_continue_is_answered_before_the_body_is_sent() {
    let (world, key) = world();
    let mut stream = world.connect();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 100);
    stream.write_all(b"ok").unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("ok")));
    assert_eq!(answer.upstream_saw("expect"), None);
}

#[test]
fn one_connection_serves_many_calls_also_pipelined_ones() {
    let (world, key) = world();
    let mut stream = world.connect();
    let request = get("/status/204", &[("x-api-key", &key)]);
    for _ in 0..20 {
        stream.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).status, 204);
    }
    stream.write_all(request.repeat(5).as_bytes()).unwrap();
    for _ in 0..5 {
        assert_eq!(read_answer(&mut stream).status, 204);
    }
}

#[test]
fn a_stale_upstream_connection_is_no_error_of_a_get() {
    let (mut world, key) = world();
    let address = world.upstream.as_ref().unwrap().address();
    for round in 0..5 {
        // Several, so that both workers keep connections to the upstream that is about to go.
        for _ in 0..8 {
            assert_eq!(
                world.get("/", &[("x-api-key", &key)]).status,
                200,
                "round {round}"
            );
        }
        let old = world.upstream.take().unwrap();
        world.runtime.block_on(old.shutdown());
        let new = world
            .runtime
            .block_on(keyward_upstream::Upstream::start(address))
            .unwrap();
        world.upstream = Some(new);
    }
}

#[test]
fn an_endpoint_that_can_t_be_reached_costs_no_call_as_long_as_another_can() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        "[[routes]]\npath = \"/\"\nupstream = \"half\"\nrequire = \"account\"",
    );
    for _ in 0..6 {
        assert_eq!(world.get("/", &[("x-api-key", key.text())]).status, 200);
    }
}

/// An upstream that ends its first connection when the second request has come on it, before any answer: what a
/// keep-alive time limit looks like when it runs out just then. Answers how many requests it has read.
fn upstream_that_hangs_up() -> (
    std::net::SocketAddr,
    std::sync::Arc<std::sync::atomic::AtomicUsize>,
) {
    use std::sync::atomic::Ordering;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = std::sync::Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                head.clear();
                if counted.fetch_add(1, Ordering::SeqCst) == 1 {
                    break;
                }
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .unwrap();
            }
        }
    });
    (address, seen)
}

/// Two calls on one client connection, so that one worker and its pooled connection serve both.
/// Answers the second's status, the requests that the upstream has read, and the calls that were counted.
fn second_call(method: &str) -> (u16, usize, u64) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let (address, seen) = upstream_that_hangs_up();
    let world = World::start(
        &keys,
        &format!(
            "[[upstreams]]\nname = \"raw\"\nendpoints = [\"http://{address}\"]\n\
             [[routes]]\npath = \"/\"\nupstream = \"raw\"\nrequire = \"account\""
        ),
    );
    let mut stream = world.connect();
    let request = get("/", &[("x-api-key", key.text())]);
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
    stream
        .write_all(request.replacen("GET", method, 1).as_bytes())
        .unwrap();
    let status = read_answer(&mut stream).status;
    let accepted = crate::accounting::counted(&world, |counter| counter.accepted);
    (status, seen.load(std::sync::atomic::Ordering::SeqCst), accepted)
}

#[test]
fn a_connection_that_ends_under_a_get_is_replaced_and_a_post_is_never_sent_twice() {
    // Sent again, it is still one call.
    assert_eq!(second_call("GET"), (200, 3, 2));
    assert_eq!(second_call("POST"), (502, 2, 2));
}
