//! Upstreams that lie, stop, or speak no HTTP: the client gets the right status or an answer that visibly breaks off, and
//! the next call is served as if nothing had been.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::fixture::{World, get, read_answer};
use crate::services::{all_of, answer_by, read_head, serve, world_before};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/// A gateway before an upstream that answers `/0`, `/1` … with these bytes and then closes, and all else well.
fn world(answers: Vec<Vec<u8>>) -> World {
    let answer = move |head: &str| {
        let target = head.split(' ').nth(1).unwrap();
        match target[1..].parse::<usize>().ok().and_then(|at| answers.get(at)) {
            Some(bytes) => (bytes.clone(), false),
            None => (GOOD.to_vec(), true),
        }
    };
    let address = serve(answer_by(answer));
    world_before(
        &format!("endpoints = [\"http://{address}\"]"),
        "[timeouts]\nresponse_headers = \"2s\"\n",
    )
}

fn is_well(world: &World) {
    let answer = world.get("/good", &[]);
    assert_eq!((answer.status, answer.body), (200, b"good".to_vec()));
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_or_in_none_is_502() {
    let many_fields = "a: b\r\n".repeat(200);
    let large = "x".repeat(70_000);
    let answers: Vec<Vec<u8>> = [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x4\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\ngood",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "hello, this is HTTP/0.9\n",
        "\u{16}\u{3}\u{1}",
        "",
    ]
    .map(bytes)
    .into_iter()
    .chain([
        format!("HTTP/1.1 200 OK\r\n{many_fields}\r\n").into_bytes(),
        format!("HTTP/1.1 200 OK\r\na: {large}\r\n\r\n").into_bytes(),
        [
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
                .repeat(100)
                .as_bytes(),
            GOOD,
        ]
        .concat(),
    ])
    .collect();
    let shown: Vec<String> = answers
        .iter()
        .map(|answer| String::from_utf8_lossy(&answer[..answer.len().min(120)]).into_owned())
        .collect();
    let world = world(answers);
    for (at, answer) in shown.iter().enumerate() {
        let got = world.get(&format!("/{at}"), &[]);
        assert_eq!(
            (got.status, got.code().as_str()),
            (502, "BAD_GATEWAY"),
            "{answer}"
        );
        is_well(&world);
    }
}

#[test]
fn a_body_that_breaks_off_or_breaks_the_rules_never_looks_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    let many = format!("{trailers}{}\r\n", "a: b\r\n".repeat(100));
    let long = format!("{trailers}a: {}\r\n\r\n", "x".repeat(20_000));
    let answers = [
        chunked.to_owned(),
        format!("{chunked}garbage"),
        format!("{chunked}-5\r\nhello\r\n0\r\n\r\n"),
        format!("{chunked}5\r\nhello0\r\n\r\n"),
        format!("{chunked}ffffffffffffffffff\r\n"),
        format!("{chunked}5\nhello\r\n0\r\n\r\n"),
        format!("{chunked}1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(10_000)),
        sized.to_owned(),
        trailers.to_owned(),
        format!("{trailers}a: b\r\n"),
        format!("{trailers}a b: c\r\n\r\n"),
        format!("{trailers}a: b\n\r\n"),
        many,
        long,
    ];
    let world = world(answers.iter().map(|answer| bytes(answer)).collect());
    for (at, answer) in answers.iter().enumerate() {
        let shown = &answer[..answer.len().min(150)];
        let began = Instant::now();
        let all = all_of(&world, &get(&format!("/{at}"), &[]));
        // It may have broken off before the head was out.
        assert!(
            all.is_empty() || all.starts_with("HTTP/1.1 200"),
            "{shown}: {all}"
        );
        assert!(!all.contains("\r\n0\r\n"), "{shown}: {all}");
        assert!(began.elapsed() < Duration::from_secs(5), "{shown}");
        is_well(&world);
    }
}

#[test]
fn what_follows_an_answer_that_has_no_body_is_no_bodys_answer() {
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let answers = [
        format!("HTTP/1.1 204 No Content\r\n\r\n{forged}"),
        format!("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello{forged}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello{forged}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood{forged}"),
    ];
    let goes_on = answer_by(move |head: &str| {
        let target = head.split(' ').nth(1).unwrap();
        let at = target[1..].parse::<usize>().ok();
        (
            at.and_then(|at| answers.get(at))
                .map_or_else(|| GOOD.to_vec(), |answer| bytes(answer)),
            true,
        )
    });
    let address = serve(goes_on);
    let world = world_before(&format!("endpoints = [\"http://{address}\"]"), "");
    for (at, status) in [204, 204, 304, 200].into_iter().enumerate() {
        for _ in 0..3 {
            assert_eq!(world.get(&format!("/{at}"), &[]).status, status);
            is_well(&world);
        }
    }
    // An answer to HEAD says how long it would be.
    let head = world.head_alone("HEAD /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.contains("forged"),
        "{head}"
    );
    is_well(&world);
}

#[test]
fn an_upstream_that_says_nothing_or_never_ends_its_head_is_504() {
    let address = serve(|mut stream| {
        let Some(head) = read_head(&mut stream) else {
            return;
        };
        if head.starts_with("GET /endless") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(b"a: b\r\n").is_ok() {
                // The pace of a head without an end.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let world = world_before(
        &format!("endpoints = [\"http://{address}\"]"),
        "[timeouts]\nresponse_headers = \"300ms\"\n",
    );
    for path in ["/silent", "/endless"] {
        let answer = world.get(path, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (504, "UPSTREAM_TIMEOUT"));
    }
}

#[test]
fn an_upstream_that_does_not_read_is_to_blame_and_not_the_client() {
    let address = serve(|stream| {
        // It holds the connection and takes nothing, as long as the process lives.
        let _held = stream;
        loop {
            std::thread::park();
        }
    });
    let world = world_before(
        &format!("endpoints = [\"http://{address}\"]"),
        "[timeouts]\nresponse_headers = \"500ms\"\nrequest = \"2s\"\n",
    );
    let mut stream = world.connect();
    let length = 64 << 20;
    stream
        .write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n").as_bytes())
        .unwrap();
    let mut sending = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let _ = sending.write_all(&vec![b'x'; length]);
    });
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.code().as_str()), (504, "UPSTREAM_TIMEOUT"));
    drop(stream);
    let _ = sender.join();
}

#[test]
fn a_long_upload_is_no_slow_upstream() {
    let address = serve(|mut stream| {
        let Some(_) = read_head(&mut stream) else { return };
        let mut body = [0; 20];
        stream.read_exact(&mut body).unwrap();
        let _ = stream.write_all(GOOD);
    });
    let world = world_before(
        &format!("endpoints = [\"http://{address}\"]"),
        "[timeouts]\nresponse_headers = \"400ms\"\n",
    );
    let mut stream = world.connect();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n")
        .unwrap();
    for _ in 0..20 {
        // The pace of this client is what is tested.
        std::thread::sleep(Duration::from_millis(70));
        stream.write_all(b"x").unwrap();
    }
    assert_eq!(read_answer(&mut stream).status, 200);
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends_and_ends_its_connection() {
    let address = serve(|mut stream| {
        let Some(_) = read_head(&mut stream) else { return };
        let _ = stream.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let world = world_before(&format!("endpoints = [\"http://{address}\"]"), "");
    let mut stream = world.connect();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin")
        .unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.body), (413, b"stop".to_vec()));
    let mut rest = Vec::new();
    // The rest of the body is nobody's next request.
    let _ = stream.write_all(b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, b"");
}

#[test]
fn a_few_interim_answers_are_passed_over() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(5);
    let answer = format!(
        "HTTP/1.1 100 Continue\r\n\r\n{interim}{}",
        String::from_utf8_lossy(GOOD)
    );
    let world = world(vec![bytes(&answer)]);
    let heard = all_of(&world, &get("/0", &[("connection", "close")]));
    assert!(
        heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("good"),
        "{heard}"
    );
    assert!(
        !heard.contains("Early Hints") && !heard.contains("link:"),
        "{heard}"
    );
    let whole = crate::http2_client::Http2::open(&world).get("/0", &[]).answer;
    assert_eq!(
        (whole.status, whole.header("link"), whole.body.as_slice()),
        (200, None, &b"good"[..])
    );
}
