//! Upstreams that speak HTTP/2: well, badly, and not at all.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::cut::{eventually, metric};
use crate::fixture::{Answer, World, get, read_answer};
use crate::http2_client::Http2;
use crate::http2_service::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RESET, SETTINGS, Service,
};
use crate::services::{all_of, answer_by, serve, world_before};
use crate::upstream_tls::{Authority, server_config};

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const INTERNAL_ERROR: u32 = 2;
const NO_ERROR: u32 = 0;
const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";

fn before(address: std::net::SocketAddr, more: &str) -> World {
    world_before(
        &format!("endpoints = [\"http://{address}\"]\nprotocol = \"h2c\""),
        more,
    )
}

fn is_good(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"good".as_slice()));
}

fn failures(world: &World, reason: &str) -> Option<u64> {
    let line = format!("keyward_upstream_failures_total{{upstream=\"service\",reason=\"{reason}\"}}");
    metric(world, &line)
}

/// A service of the `h2` crate, which answers with what it received and ends with trailers.
fn echo(tls: Option<Arc<ServerConfig>>) -> (std::net::SocketAddr, Arc<Mutex<Vec<http::request::Parts>>>) {
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let noted = Arc::clone(&seen);
    let address = serve(move |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (noted, tls) = (Arc::clone(&noted), tls.clone());
        runtime.block_on(async move {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            match tls {
                None => echo_on(stream, noted).await,
                Some(config) => {
                    let accepted = tokio_rustls::TlsAcceptor::from(config).accept(stream).await;
                    echo_on(accepted.unwrap(), noted).await;
                }
            }
        });
    });
    (address, seen)
}

async fn echo_on(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    noted: Arc<Mutex<Vec<http::request::Parts>>>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let noted = Arc::clone(&noted);
        tokio::spawn(async move {
            let (parts, mut body) = request.into_parts();
            noted.lock().unwrap().push(parts);
            let mut answer = respond.send_response(http::Response::new(()), false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                let _ = answer.send_data(data, false);
            }
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            trailers.insert("keyward-account", "forged".parse().unwrap());
            trailers.insert("content-length", "5".parse().unwrap());
            let _ = answer.send_trailers(trailers);
        });
    }
}

#[test]
fn http2_goes_over_tls_where_both_agree() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let config = server_config(&authority.sign("localhost"), None, &[b"h2", b"http/1.1"]);
    let (address, seen) = echo(Some(config));
    let upstream = format!(
        "endpoints = [\"https://localhost:{}\"]\nprotocol = \"h2\"\n[upstreams.tls]\nca_file = \"{}\"",
        address.port(),
        ca.display()
    );
    let world = world_before(&upstream, "");
    let answer = world.call(POST);
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"hello".as_slice())
    );
    assert_eq!(seen.lock().unwrap()[0].uri.to_string(), "https://a/");
    let trailers = Http2::open(&world).get("/", &[]).trailers.unwrap();
    assert_eq!(trailers["x-sum"], "7");
}

#[test]
fn a_call_is_the_same_over_http2_without_what_belongs_to_a_connection() {
    let (address, seen) = echo(None);
    let world = before(address, "");
    let answer = world.call(
        "POST /a/./b?c=d HTTP/1.1\r\nhost: api.example\r\ncontent-length: 5\r\nte: trailers\r\n\
         connection: te, x-mine\r\nx-mine: 1\r\nkeyward-tier: forged\r\nx-forwarded-for: 6.6.6.6\r\n\
         upgrade: h2c\r\nx-kept: 1\r\n\r\nhello",
    );
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"hello".as_slice())
    );
    assert_eq!(answer.header("via"), Some("2.0 keyward"));
    let all = seen.lock().unwrap();
    let head = &all[0];
    assert_eq!(head.uri.to_string(), "http://api.example/a/b?c=d");
    let value = |name: &str| {
        head.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    for (name, expected) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "api.example"),
        ("forwarded", "for=127.0.0.1;proto=http;host=\"api.example\""),
        ("via", "1.1 keyward"),
        ("content-length", "5"),
        ("x-kept", "1"),
    ] {
        assert_eq!(value(name).as_deref(), Some(expected), "{name}");
    }
    assert!(value("x-request-id").is_some() && value("traceparent").is_some());
    for gone in [
        "host",
        "connection",
        "te",
        "x-mine",
        "keyward-tier",
        "upgrade",
        "transfer-encoding",
    ] {
        assert_eq!(value(gone), None, "{gone}");
    }
}

#[test]
fn large_bodies_go_both_ways_and_trailers_come_back() {
    let (address, _) = echo(None);
    let world = before(address, "");
    let body = "z".repeat(5 << 20);
    let mut text = String::new();
    for chunk in body.as_bytes().chunks(70_000) {
        text.push_str(&format!(
            "{:x}\r\n{}\r\n",
            chunk.len(),
            std::str::from_utf8(chunk).unwrap()
        ));
    }
    let post = format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{text}0\r\n\r\n");
    let mut client = world.connect();
    let mut sending = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || sending.write_all(post.as_bytes()).unwrap());
    assert_eq!(read_answer(&mut client).body.len(), body.len());
    sender.join().unwrap();
    let whole = Http2::open(&world).get("/", &[]);
    assert_eq!(whole.answer.status, 200);
    let trailers = whole.trailers.unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "7");
}

#[test]
fn many_calls_share_few_connections_within_what_the_peer_allows() {
    const AT_ONCE: usize = 4;
    const CALLS: usize = 40;
    let (connections, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (Arc::clone(&connections), Arc::clone(&most));
    let address = Service::start(&[(3, AT_ONCE as u32)], move |mut service| {
        counted.fetch_max(service.number + 1, Ordering::SeqCst);
        let mut open = Vec::new();
        // Answered when no more come: until then they are all open.
        service.gives_up_after(Duration::from_millis(400));
        while let Some(stream) = service.call() {
            open.push(stream);
            highest.fetch_max(open.len(), Ordering::SeqCst);
        }
        service.gives_up_after(Duration::from_secs(20));
        for stream in open {
            service.good(stream);
        }
        service.go_on();
    });
    let world = before(address, "");
    let mut clients: Vec<_> = (0..CALLS).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.write_all(get("/", &[]).as_bytes()).unwrap();
    }
    for mut client in clients {
        is_good(&read_answer(&mut client));
    }
    assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    // Two workers, each with a last connection that is not full.
    let count = connections.load(Ordering::SeqCst);
    assert!(
        (CALLS / AT_ONCE..=CALLS / AT_ONCE + 2).contains(&count),
        "{count}"
    );
}

#[test]
fn a_refused_call_goes_on_another_connection_whatever_its_method() {
    for refusal in ["reset", "goaway"] {
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        let address = Service::start(&[], move |mut service| {
            if counted.load(Ordering::SeqCst) > 0 {
                return service.go_on();
            }
            let Some(stream) = service.call() else { return };
            counted.fetch_add(1, Ordering::SeqCst);
            if refusal == "reset" {
                service.send(RESET, 0, stream, &REFUSED_STREAM.to_be_bytes());
            } else {
                // Nothing above stream 0 was processed.
                service.send(GOAWAY, 0, 0, &[0; 8]);
            }
            service.hold();
        });
        let world = before(address, "");
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        is_good(&world.call(post));
        assert_eq!(refused.load(Ordering::SeqCst), 1, "{refusal}");
    }
}

#[test]
fn a_goaway_lets_calls_that_it_names_end_and_takes_no_more() {
    let is_answered = Arc::<AtomicBool>::default();
    let has_head = Arc::clone(&is_answered);
    let address = Service::start(&[], move |mut service| {
        if service.number > 0 {
            return service.go_on();
        }
        let Some(stream) = service.call() else { return };
        let mut goaway = stream.to_be_bytes().to_vec();
        goaway.extend(NO_ERROR.to_be_bytes());
        service.send(GOAWAY, 0, 0, &goaway);
        service.head(stream, 0, &[(":status", "200")]);
        // What came before the head has been read by then.
        eventually("the client has the head", || has_head.load(Ordering::SeqCst));
        service.send(DATA, END_STREAM, stream, b"good");
        // A call on this connection now would be answered by nobody.
        service.hold();
    });
    let world = before(address, "");
    let mut client = world.connect();
    client.write_all(get("/", &[]).as_bytes()).unwrap();
    assert_ne!(client.peek(&mut [0]).unwrap(), 0);
    is_answered.store(true, Ordering::SeqCst);
    is_good(&read_answer(&mut client));
    for _ in 0..4 {
        is_good(&world.get("/", &[]));
    }
}

#[test]
fn a_call_whose_body_was_sent_is_never_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let address = Service::start(&[], move |mut service| {
        while let Some(frame) = service.next() {
            if frame.kind == DATA {
                counted.fetch_add(1, Ordering::SeqCst);
                service.send(RESET, 0, frame.stream, &REFUSED_STREAM.to_be_bytes());
            }
        }
    });
    let world = before(address, "");
    let answer = world.call(POST);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "UPSTREAM_UNAVAILABLE")
    );
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    assert_eq!(failures(&world, "refused"), Some(1));
}

#[test]
fn an_answer_that_breaks_the_rules_is_502() {
    type Bad = fn(&mut Service, u32);
    let cases: &[(&str, Bad)] = &[
        ("reset", |service, stream| {
            service.send(RESET, 0, stream, &INTERNAL_ERROR.to_be_bytes());
        }),
        ("two statuses", |service, stream| {
            service.head(stream, END_STREAM, &[(":status", "200"), (":status", "200")]);
        }),
        ("101", |service, stream| {
            service.head(stream, END_STREAM, &[(":status", "101")]);
        }),
        ("an odd status", |service, stream| {
            service.head(stream, END_STREAM, &[(":status", "999")]);
        }),
        ("Connection", |service, stream| {
            service.head(stream, END_STREAM, &[(":status", "200"), ("connection", "close")]);
        }),
        ("Transfer-Encoding", |service, stream| {
            service.head(
                stream,
                END_STREAM,
                &[(":status", "200"), ("transfer-encoding", "chunked")],
            );
        }),
        ("an upper-case name", |service, stream| {
            service.head(stream, END_STREAM, &[(":status", "200"), ("X-Odd", "1")]);
        }),
        ("two lengths", |service, stream| {
            let list = [
                (":status", "200"),
                ("content-length", "4"),
                ("content-length", "5"),
            ];
            service.head(stream, 0, &list);
        }),
        ("an odd length", |service, stream| {
            service.head(stream, 0, &[(":status", "200"), ("content-length", "+4")]);
        }),
        ("data before a head", |service, stream| {
            service.send(DATA, 0, stream, b"hello");
        }),
        ("many fields", |service, stream| {
            let mut list = vec![(":status", "200")];
            list.extend([("a", "b"); 200]);
            service.head(stream, END_STREAM, &list);
        }),
        ("a bomb of a head", |service, stream| {
            let large = "x".repeat(15_000);
            service.send(
                HEADERS,
                0,
                stream,
                &crate::http2_client::fields(&[(":status", "200")]),
            );
            for _ in 0..8 {
                let more = crate::http2_client::fields(&[("a", &large)]);
                service.send(CONTINUATION, 0, stream, &more);
            }
            service.send(CONTINUATION, END_HEADERS, stream, &[]);
        }),
        ("a head without end", |service, stream| {
            service.send(
                HEADERS,
                0,
                stream,
                &crate::http2_client::fields(&[(":status", "200")]),
            );
            while service.send(CONTINUATION, 0, stream, &[]) {}
        }),
        ("interim answers without end", |service, stream| {
            while service.head(stream, 0, &[(":status", "103")]) {}
        }),
        ("garbage", |service, stream| {
            service.send(0x55, 0xff, stream, &[0xff; 30_000]);
        }),
        ("HPACK garbage", |service, stream| {
            service.send(HEADERS, END_HEADERS | END_STREAM, stream, &[0xff; 20]);
        }),
        ("settings that can't be", |service, _| {
            service.send(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0]);
        }),
        ("the end of the connection", |_, _| {}),
    ];
    let at = Arc::new(AtomicUsize::new(0));
    let which = Arc::clone(&at);
    let address = Service::start(&[], move |mut service| {
        while let Some(stream) = service.call() {
            match cases.get(which.load(Ordering::SeqCst)) {
                None => {
                    service.good(stream);
                }
                Some((name, bad)) => {
                    bad(&mut service, stream);
                    if name.starts_with("the end") {
                        return;
                    }
                }
            }
        }
    });
    let world = before(address, "[timeouts]\nresponse_headers = \"3s\"");
    for (index, (name, _)) in cases.iter().enumerate() {
        at.store(index, Ordering::SeqCst);
        let answer = world.call("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(answer.status, 502, "{name}");
        assert_eq!(answer.code(), "BAD_GATEWAY", "{name}");
        at.store(usize::MAX, Ordering::SeqCst);
        is_good(&world.get("/", &[]));
    }
}

#[test]
fn a_body_that_breaks_off_never_looks_whole_to_either_kind_of_client() {
    type Bad = fn(&mut Service, u32);
    let cases: &[(&str, Bad)] = &[
        ("reset", |service, stream| {
            service.send(RESET, 0, stream, &CANCEL.to_be_bytes());
        }),
        ("a reset without error", |service, stream| {
            service.send(RESET, 0, stream, &NO_ERROR.to_be_bytes());
        }),
        ("too little", |service, stream| {
            service.send(DATA, END_STREAM, stream, b"");
        }),
        ("too much", |service, stream| {
            service.send(DATA, 0, stream, &[b'x'; 200]);
        }),
        ("trailers too soon", |service, stream| {
            service.head(stream, END_STREAM, &[("x-sum", "1")]);
        }),
        ("endless trailers", |service, stream| {
            service.head(stream, 0, &[("x-sum", "1")]);
        }),
        ("many trailers", |service, stream| {
            service.head(stream, END_STREAM, &[("a", "b"); 100]);
        }),
        ("garbage", |service, stream| {
            service.send(DATA, 8, stream, &[0xff; 3]);
        }),
        ("the end of the connection", |_, _| {}),
    ];
    let at = Arc::new(AtomicUsize::new(0));
    let which = Arc::clone(&at);
    let address = Service::start(&[], move |mut service| {
        while let Some(stream) = service.call() {
            let Some((name, bad)) = cases.get(which.load(Ordering::SeqCst)) else {
                service.good(stream);
                continue;
            };
            let list = [(":status", "200"), ("content-length", "100")];
            // Of a body that says how long it is, trailers would come too soon.
            let are_trailers = name.ends_with("trailers");
            service.head(stream, 0, &list[..if are_trailers { 1 } else { 2 }]);
            service.send(DATA, 0, stream, b"hello");
            bad(&mut service, stream);
            if name.starts_with("the end") {
                return;
            }
        }
    });
    let world = before(address, "");
    for (index, (name, _)) in cases.iter().enumerate() {
        at.store(index, Ordering::SeqCst);
        let all = all_of(&world, &get("/", &[("connection", "close")]));
        let body = all.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(all.is_empty() || all.starts_with("HTTP/1.1 200"), "{name}: {all}");
        assert!(!body.ends_with("0\r\n\r\n") && body.len() < 100, "{name}: {all}");
        let whole = Http2::open(&world).get("/", &[]);
        assert!(whole.reset.is_some(), "{name}");
        at.store(usize::MAX, Ordering::SeqCst);
        is_good(&world.get("/", &[]));
    }
}

#[test]
fn an_answer_without_a_body_has_none_whatever_comes() {
    let address = Service::start(&[], |mut service| {
        while let Some(stream) = service.call() {
            service.head(stream, 0, &[(":status", "304"), ("content-length", "5")]);
            service.send(DATA, END_STREAM, stream, b"hello");
        }
    });
    let world = before(address, "");
    for _ in 0..3 {
        assert_eq!(world.get("/", &[]).status, 304);
    }
}

#[test]
fn interim_answers_over_http2_are_passed_over() {
    let address = Service::start(&[], |mut service| {
        while let Some(stream) = service.call() {
            service.head(stream, 0, &[(":status", "100")]);
            service.head(stream, 0, &[(":status", "103"), ("link", "</a>")]);
            service.good(stream);
        }
    });
    let world = before(address, "");
    let answer = world.get("/", &[]);
    is_good(&answer);
    assert_eq!(answer.header("link"), None);
    let whole = Http2::open(&world).get("/", &[]);
    is_good(&whole.answer);
    assert_eq!(whole.answer.header("link"), None);
}

#[test]
fn an_early_answer_over_http2_is_whole() {
    let address = Service::start(&[], |mut service| {
        while let Some(stream) = service.call() {
            service.head(stream, 0, &[(":status", "413"), ("content-length", "4")]);
            service.send(DATA, END_STREAM, stream, b"stop");
            service.send(RESET, 0, stream, &NO_ERROR.to_be_bytes());
        }
    });
    let world = before(address, "");
    let mut client = world.connect();
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nbegin")
        .unwrap();
    let answer = read_answer(&mut client);
    assert_eq!((answer.status, answer.body), (413, b"stop".to_vec()));
}

#[test]
fn what_speaks_no_http2_is_503_and_gets_no_call() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let http1 = serve(answer_by(move |head| {
        // The preface looks like two requests.
        counted.fetch_add(usize::from(head.starts_with("GET ")), Ordering::SeqCst);
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
            true,
        )
    }));
    let world = before(http1, "");
    assert_eq!(world.get("/", &[]).status, 503);
    assert_eq!(failures(&world, "http2"), Some(1));
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    let silent = serve(|stream| {
        let _held = read_answer_of_nobody(stream);
    });
    let world = before(silent, "[timeouts]\nconnect = \"300ms\"");
    assert_eq!(world.get("/", &[]).status, 503);
    assert_eq!(failures(&world, "connect_timeout"), Some(1));
}

fn read_answer_of_nobody(mut stream: std::net::TcpStream) -> usize {
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut all).unwrap_or_default()
}

#[test]
fn a_window_that_stays_shut_is_the_upstreams_fault() {
    let address = Service::start(&[(4, 0)], Service::hold);
    let world = before(address, "[timeouts]\nresponse_headers = \"400ms\"");
    let answer = world.call(POST);
    assert_eq!((answer.status, answer.code().as_str()), (504, "UPSTREAM_TIMEOUT"));
}

#[test]
fn a_client_that_goes_away_cancels_its_call_and_no_others() {
    let canceled = Arc::new(Mutex::new(Vec::new()));
    let (noted, has_begun) = (Arc::clone(&canceled), AtomicBool::new(false));
    let address = Service::start(&[], move |mut service| {
        while let Some(frame) = service.next() {
            match frame.kind {
                HEADERS if !has_begun.swap(true, Ordering::SeqCst) => {
                    service.head(frame.stream, 0, &[(":status", "200")]);
                    service.send(DATA, 0, frame.stream, b"begin");
                }
                HEADERS => {
                    service.good(frame.stream);
                }
                RESET => {
                    assert_eq!(frame.payload, CANCEL.to_be_bytes());
                    noted.lock().unwrap().push(frame.stream);
                }
                _ => {}
            }
        }
    });
    let world = before(address, "");
    let mut client = world.connect();
    client.write_all(get("/", &[]).as_bytes()).unwrap();
    assert_ne!(client.peek(&mut [0]).unwrap(), 0);
    drop(client);
    eventually("it is cancelled", || !canceled.lock().unwrap().is_empty());
    is_good(&world.get("/", &[]));
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody_else_and_no_more_than_a_window() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let address = stream_without_end(counted);
    let world = before(address, "");
    let mut slow = world.connect();
    slow.write_all(get("/endless", &[]).as_bytes()).unwrap();
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let now = sent.load(Ordering::SeqCst);
        if now != before {
            (before, since) = (now, Instant::now());
        }
        assert!(now < 64 << 20, "it goes on without end");
        // Between two looks: that no more comes only time can tell.
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..20 {
        is_good(&world.get("/", &[]));
    }
}

/// A service whose `/endless` never ends; it counts what it could hand over.
fn stream_without_end(sent: Arc<AtomicUsize>) -> std::net::SocketAddr {
    serve(move |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let sent = Arc::clone(&sent);
        runtime.block_on(async move {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(mut connection) = h2::server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let is_endless = request.uri().path() == "/endless";
                let mut answer = respond.send_response(http::Response::new(()), false).unwrap();
                let sent = Arc::clone(&sent);
                tokio::spawn(async move {
                    if !is_endless {
                        let _ = answer.send_data("good".into(), true);
                        return;
                    }
                    loop {
                        answer.reserve_capacity(16_384);
                        let room = std::future::poll_fn(|context| answer.poll_capacity(context)).await;
                        let Some(Ok(room)) = room else { return };
                        sent.fetch_add(room, Ordering::SeqCst);
                        if answer.send_data(vec![b'x'; room].into(), false).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    })
}
