//! Calls over HTTP/2: the same verdicts as over HTTP/1.1, many at once, each ending alone.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use keyward_contract::{KeyKind, KeyState};

use crate::cut::{eventually, metric, put_key};
use crate::fixture::{Key, Keys, World};
use crate::http2_client::{Http2, get, rest};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";
/// What a busy machine may add.
pub(crate) const SLACK: Duration = Duration::from_secs(3);

pub(crate) fn world(more: &str) -> (World, Key) {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = keyward_contract::Limits {
            rate: 10_000,
            burst: 20_000,
        };
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    (World::start(&keys, &format!("{ROUTE}{more}")), key)
}

pub(crate) fn in_flight(world: &World) -> u64 {
    metric(world, "keyward_requests_in_flight ").unwrap()
}

#[test]
fn a_call_is_forwarded_as_over_http_1_and_says_how_it_came() {
    let (world, key) = world("");
    let client = Http2::open(&world);
    let headers = [
        ("x-api-key", key.text()),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("keyward-account", "forged"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let whole = client.get("/a/../b?x=1", &headers);
    assert_eq!(whole.answer.status, 200);
    let json = whole.answer.json();
    assert_eq!(
        (&json["target"], &json["version"]),
        (&"/b?x=1".into(), &"HTTP/1.1".into())
    );
    for (name, expected) in [
        ("host", Some("api.example")),
        ("cookie", Some("a=1; b=2")),
        ("via", Some("2.0 keyward")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-api-key", None),
    ] {
        assert_eq!(whole.answer.upstream_saw(name).as_deref(), expected, "{name}");
    }
    let account = whole.answer.upstream_saw("keyward-account").unwrap();
    assert_eq!(account, key.record.account.to_string());
    assert!(whole.answer.header("x-ratelimit-limit").is_some());
    assert!(whole.answer.header("x-request-id").is_some());
}

#[test]
fn a_body_goes_both_ways_and_a_hundred_calls_at_once_share_a_connection() {
    let (world, key) = world("");
    let client = Http2::open(&world);
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let request = Request::post(format!("http://api.example/{number}"))
                .header("x-api-key", key.text())
                .body(())
                .unwrap();
            let (response, mut stream) = client.begin(request, Some("first "));
            stream
                .send_data(Bytes::from(format!("second {number}")), true)
                .unwrap();
            (number, response)
        })
        .collect();
    for (number, response) in calls {
        let whole = client.finish(response);
        assert_eq!(whole.answer.status, 200);
        let json = whole.answer.json();
        assert_eq!(json["body"], format!("first second {number}"));
        assert_eq!(json["path"], format!("/{number}"));
    }
    let large = client.get("/bytes/3000000", &[("x-api-key", key.text())]);
    assert_eq!(large.answer.body.len(), 3_000_000);
    assert_eq!(metric(&world, "keyward_connections "), Some(1));
}

#[test]
fn what_is_refused_over_http_1_is_refused_here() {
    let (world, key) = world("[bounds]\nbody = \"10\"\nuri = \"100\"\nheaders = 20\n");
    let client = Http2::open(&world);
    let key = ("x-api-key", key.text());
    let long = format!("/{}", "a".repeat(100));
    for (path, headers, expected) in [
        ("/", vec![], (401, "UNAUTHORIZED")),
        ("/", vec![("x-api-key", "nonsense")], (401, "INVALID_API_KEY")),
        ("/", vec![key, ("x-api-key", "another")], (400, "INVALID_INPUT")),
        ("/a%2Fb", vec![key], (400, "INVALID_INPUT")),
        ("/a/../../b", vec![key], (400, "INVALID_INPUT")),
        ("/%00", vec![key], (400, "INVALID_INPUT")),
        ("/", vec![key, ("host", "other.example")], (400, "INVALID_INPUT")),
        (&long, vec![key], (414, "URI_TOO_LONG")),
    ] {
        let answer = client.get(path, &headers).answer;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            expected,
            "{path} {headers:?}"
        );
        assert!(answer.header("x-request-id").is_some());
    }
    let many: Vec<_> = (0..21).map(|_| ("x-a", "b")).collect();
    let other = Http2::open(&world);
    assert_eq!(other.get("/", &many).answer.status, 431);
    eventually("its connection ends", || !other.is_open());
    let uri = "http://user@api.example/";
    let request = Request::get(uri).header(key.0, key.1).body(()).unwrap();
    assert_eq!(client.call(request).answer.status, 400);
    let post = || Request::post("http://api.example/").header(key.0, key.1);
    let announced = post().header("content-length", "11").body(()).unwrap();
    let (response, _stream) = client.begin(announced, Some("eleven byte"));
    assert_eq!(client.finish(response).answer.status, 413);
    let request = Request::builder().method("TRACE").uri("http://api.example/");
    assert_eq!(client.call(request.body(()).unwrap()).answer.status, 405);
    let request = Request::builder().method("CONNECT").uri("api.example:80");
    assert_eq!(client.call(request.body(()).unwrap()).answer.status, 405);
    assert_eq!(client.get("/", &[key]).answer.status, 200);
    assert_eq!(world.upstream_calls(), 1);
    // Who announces nothing is refused when too much has come: the head may have gone on by then, in a segment of its own.
    let (response, _stream) = client.begin(post().body(()).unwrap(), Some("eleven byte"));
    assert_eq!(client.finish(response).answer.status, 413);
}

#[test]
fn grpc_is_refused_in_trailers_alone() {
    let (world, key) = world("");
    let client = Http2::open(&world);
    let grpc = ("content-type", "application/grpc");
    let refused = client.get("/service/Method", &[grpc]).answer;
    assert_eq!(refused.status, 200);
    assert_eq!(refused.header("grpc-status"), Some("16"));
    assert_eq!(refused.header("content-type"), Some("application/grpc"));
    assert!(refused.body.is_empty());
    // Its deadline holds: the upstream answers after that.
    let headers = [grpc, ("x-api-key", key.text()), ("grpc-timeout", "50m")];
    let late = client.get("/delay/5000", &headers).answer;
    assert_eq!(late.header("grpc-status"), Some("4"));
}

#[test]
fn a_client_that_takes_back_its_call_ends_it() {
    let (world, key) = world("");
    let client = Http2::open(&world);
    let (response, mut stream) = client.begin(get("/delay/60000", &[("x-api-key", key.text())]), None);
    eventually("it is in flight", || in_flight(&world) == 1);
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    eventually("it has ended", || in_flight(&world) == 0);
    assert_eq!(client.get("/", &[("x-api-key", key.text())]).answer.status, 200);
}

#[test]
fn an_answer_that_comes_early_is_not_lost_to_a_reset() {
    let (world, key) = world("[bounds]\nbody = \"10\"\n");
    let client = Http2::open(&world);
    // One is refused for what it announces and one for what it sends, one by whoever has no key, and one is answered by the upstream.
    for (length, first, key, expected) in [
        (Some("300000"), "x", key.text(), 413),
        (None, "eleven byte", key.text(), 413),
        (None, "x", "nobody's", 401),
        (Some("5"), "whole", key.text(), 200),
    ] {
        let request = Request::post("http://api.example/").header("x-api-key", key);
        let request = match length {
            Some(length) => request.header("content-length", length),
            None => request,
        };
        let (response, mut stream) = client.begin(request.body(()).unwrap(), Some(first));
        let whole = client.finish(response);
        assert_eq!(
            (whole.answer.status, whole.reset.is_none()),
            (expected, true),
            "{length:?}"
        );
        // The client goes on, and ends: nobody resets its stream meanwhile.
        if length != Some("5") {
            stream.send_data(Bytes::from(vec![b'x'; 30_000]), false).unwrap();
        }
        assert_eq!(
            client.get("/count", &[("x-api-key", "nobody's")]).answer.status,
            401
        );
        let last = if length == Some("300000") {
            vec![b'x'; 269_999]
        } else {
            Vec::new()
        };
        stream.reserve_capacity(last.len());
        let ended = stream.send_data(Bytes::from(last), true);
        assert!(ended.is_ok(), "{length:?}: {ended:?}");
    }
    // Who never ends is reset after a while.
    let request = Request::post("http://api.example/").header("x-api-key", "nobody's");
    let (response, mut stream) = client.begin(request.body(()).unwrap(), Some("x"));
    assert_eq!(client.finish(response).answer.status, 401);
    let reset = world
        .runtime
        .block_on(std::future::poll_fn(|context| stream.poll_reset(context)));
    assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
}

#[test]
fn a_stream_of_a_revoked_key_is_reset_and_another_keys_goes_on() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let [dead, other] = [0, 1].map(|_| keys.key(KeyKind::Account, &account, |_| {}));
    let world = World::start(&keys, &before_endless("text/event-stream"));
    let client = Http2::open(&world);
    let open = |key: &Key| client.begin(get("/", &[("x-api-key", key.text())]), None).0;
    // Both answers have begun: a call that is still here would be refused instead.
    let [cut, goes_on] = [&dead, &other].map(|key| world.runtime.block_on(open(key)).unwrap());
    let goes_on = world.runtime.spawn(rest(goes_on));
    put_key(&world, &dead, |record| record.state = KeyState::Revoked);
    let since = Instant::now();
    let cut = world.runtime.block_on(rest(cut));
    assert_eq!(cut.answer.status, 200);
    assert_eq!(
        cut.reset.and_then(|error| error.reason()),
        Some(h2::Reason::CANCEL)
    );
    assert!(since.elapsed() < Duration::from_millis(500) + SLACK);
    assert_eq!(in_flight(&world), 1);
    assert!(!goes_on.is_finished());
    goes_on.abort();
}

#[test]
fn a_grpc_answer_of_a_revoked_key_ends_with_its_status_and_one_that_nobody_takes_is_reset() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let [dead, deaf] = [0, 1].map(|_| keys.key(KeyKind::Account, &account, |_| {}));
    let world = World::start(&keys, &before_endless("application/grpc"));
    // On connections of their own: who takes nothing of one stream takes away the window of all.
    let clients = [0, 1].map(|_| Http2::open(&world));
    let open = |key: &Key| {
        let headers = [("x-api-key", key.text()), ("content-type", "application/grpc")];
        let client = &clients[usize::from(key.text() == deaf.text())];
        client.begin(get("/s/M", &headers), None).0
    };
    // Both answers have begun: a call that is still here would be refused instead.
    let [taken, not_taken] = [&dead, &deaf].map(|key| world.runtime.block_on(open(key)).unwrap());
    let taken = world.runtime.spawn(rest(taken));
    put_key(&world, &dead, |record| record.state = KeyState::Revoked);
    put_key(&world, &deaf, |record| record.state = KeyState::Revoked);
    let taken = world.runtime.block_on(taken).unwrap();
    let trailers = taken
        .trailers
        .unwrap_or_else(|| panic!("none came: {:?}", taken.reset));
    assert_eq!(trailers["grpc-status"], "16");
    eventually("the other has ended, too", || in_flight(&world) == 0);
    drop(not_taken);
    let grace = metric(&world, "keyward_calls_cut_total{reason=\"key\"} ");
    assert_eq!(grace, Some(2));
}

#[test]
fn a_grpc_answer_that_takes_too_long_ends_with_its_status() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, &before_endless("application/grpc"));
    let headers = [
        ("x-api-key", key.text()),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "500m"),
    ];
    let began = Instant::now();
    let late = Http2::open(&world).get("/s/M", &headers);
    assert!(began.elapsed() < Duration::from_millis(500) + SLACK);
    let trailers = late
        .trailers
        .unwrap_or_else(|| panic!("none came: {:?}", late.reset));
    assert_eq!(trailers["grpc-status"], "4");
    assert!(!late.answer.body.is_empty());
}

#[test]
fn a_drain_lets_streams_end() {
    let (mut world, key) = world("");
    let client = Http2::open(&world);
    let (slow, _stream) = client.begin(get("/delay/700", &[("x-api-key", key.text())]), None);
    eventually("it is in flight", || in_flight(&world) == 1);
    let began = Instant::now();
    world.drain();
    assert_eq!(client.finish(slow).answer.status, 200);
    assert!(!client.is_open());
    assert!(
        began.elapsed() < Duration::from_millis(700) + SLACK,
        "a drain waits for nobody who was told"
    );
}

/// A route to an upstream that is [`endless`].
fn before_endless(content_type: &'static str) -> String {
    let upstream = endless(content_type);
    format!(
        "[[routes]]\npath = \"/\"\nupstream = \"endless\"\nrequire = \"account\"\n\
         [[upstreams]]\nname = \"endless\"\nendpoints = [\"http://{upstream}\"]\n[drain]\nrevoked = \"500ms\"\n"
    )
}

/// Answers every call with pieces of this type that never end.
fn endless(content_type: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut seen = [0; 4096];
                std::io::Read::read(&mut stream, &mut seen)?;
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
                )?;
                let piece = "x".repeat(16_000);
                loop {
                    write!(stream, "{:x}\r\n{piece}\r\n", piece.len())?;
                    // The pace of its pieces.
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
    });
    address
}

#[test]
fn a_client_that_waits_for_100_is_refused_at_once_and_served_when_it_goes_on() {
    let (world, key) = world("");
    let client = Http2::open(&world);
    let upload = |key: &str| {
        let request = Request::post("http://api.example/echo");
        let request = request.header("x-api-key", key).header("content-length", "5");
        request.header("expect", "100-continue").body(()).unwrap()
    };
    // A final answer needs no body (RFC 9110 §10.1.1).
    let (refused, _stream) = client.begin(upload("nonsense"), Some(""));
    assert_eq!(client.finish(refused).answer.status, 401);
    let (served, mut stream) = client.begin(upload(key.text()), Some(""));
    eventually("the call is under way", || in_flight(&world) == 1);
    stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let whole = client.finish(served);
    assert_eq!(
        (whole.answer.status, &whole.answer.json()["body"]),
        (200, &"hello".into())
    );
    assert_eq!(whole.answer.upstream_saw("expect"), None);
}
