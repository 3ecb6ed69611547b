//! What bounds an HTTP/2 connection and its streams: how many, how large, how slow and how long.

use std::io::Write;
use std::time::{Duration, Instant};

use http::Request;

use crate::cut::eventually;
use crate::http2::{SLACK, in_flight, world};
use crate::http2_client::{Frames, Http2, frame, get, head, head_in_pieces};

#[test]
fn more_streams_than_there_may_be_are_refused_and_the_others_go_on() {
    let (world, key) = world("[bounds]\nhttp2_streams = 3\n");
    let mut client = Frames::open(&world);
    for stream in [1, 3, 5, 7] {
        assert!(client.send(&head(stream, "/delay/500", &[("x-api-key", key.text())])));
    }
    let (mut settings, mut refused, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    while refused.len() + answered.len() < 4 {
        match client.next().expect("the connection goes on") {
            (4, 0, 0, payload) => settings = payload,
            (3, _, stream, payload) => refused.push((stream, payload)),
            (1, _, stream, _) => answered.push(stream),
            _ => {}
        }
    }
    // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2) said so, and what comes all the same is REFUSED_STREAM (§8.7).
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]));
    assert_eq!(refused, [(7, vec![0, 0, 0, 7])]);
    answered.sort_unstable();
    assert_eq!(answered, [1, 3, 5]);
    assert_eq!(world.upstream_calls(), 3);
}

#[test]
fn a_head_may_be_as_large_as_over_http_1_and_no_larger() {
    let (world, key) = world("[bounds]\nhead = \"16KiB\"\n");
    for (size, expected) in [(12 * 1024, "200"), (20 * 1024, "431")] {
        let large = "a".repeat(size);
        let client = Http2::open(&world);
        let answer = client
            .get("/", &[("x-api-key", key.text()), ("x-large", &large)])
            .answer;
        assert_eq!(answer.status.to_string(), expected, "{size}");
    }
    // However many pieces it comes in.
    let mut client = Frames::open(&world);
    let large = "a".repeat(20 * 1024);
    let more = [("x-api-key", key.text()), ("x-large", large.as_str())];
    assert!(client.send(&head_in_pieces(1, "/", &more, 4096)));
    let told = std::iter::from_fn(|| client.next()).find(|(kind, ..)| matches!(kind, 1 | 3 | 7));
    assert!(
        matches!(told, Some((1, _, 1, _) | (3, _, 1, _) | (7, ..))),
        "{told:?}"
    );
    assert_eq!(world.upstream_calls(), 1);
}

#[test]
fn who_goes_on_with_heads_that_are_too_large_is_not_listened_to() {
    let (world, _) = world("[bounds]\nheaders = 20\n");
    let many = vec![("x-a", "b"); 21];
    let heads: Vec<u8> = (0..200)
        .flat_map(|number| head(2 * number + 1, "/", &many))
        .collect();
    let mut client = Frames::open(&world);
    client.send(&heads);
    // It takes no notice of GOAWAY, and doesn't say that it has heard of it either.
    let answers = client.until_end().iter().filter(|kind| **kind == 1).count();
    assert!(answers <= 11, "{answers}");
}

#[test]
fn a_client_that_answers_no_ping_is_given_up_with_its_calls() {
    let (world, key) = world("[timeouts]\nhttp2_ping = \"300ms\"\n");
    let mut dead = Frames::open(&world);
    let living = Http2::open(&world);
    let slow = get("/delay/1500", &[("x-api-key", key.text())]);
    let (slow, _stream) = living.begin(slow, None);
    assert!(dead.send(&head(1, "/delay/60000", &[("x-api-key", key.text())])));
    eventually("both are in flight", || in_flight(&world) == 2);
    assert!(dead.until_end().contains(&6), "it was asked");
    eventually("one is left", || in_flight(&world) <= 1);
    assert_eq!(living.finish(slow).answer.status, 200);
}

#[test]
fn the_preface_may_come_in_pieces_and_must_come_in_time() {
    let (world, key) = world("[timeouts]\nrequest_headers = \"200ms\"\n");
    let mut slow = world.connect();
    for byte in crate::http2_client::PREFACE {
        slow.write_all(&[*byte]).unwrap();
    }
    slow.write_all(&frame(4, 0, 0, &[])).unwrap();
    slow.write_all(&head(1, "/", &[("x-api-key", key.text())]))
        .unwrap();
    let mut frames = Frames(slow);
    let answered = std::iter::from_fn(|| frames.next()).find(|(kind, ..)| *kind == 1);
    assert_eq!(answered.unwrap().2, 1);
    let mut stalled = world.connect();
    stalled.write_all(b"PRI * HT").unwrap();
    assert!(Frames(stalled).next().is_none());
}

#[test]
fn a_connection_without_calls_is_told_that_it_ends_and_one_with_a_call_is_not() {
    let (world, key) = world("[timeouts]\nidle = \"200ms\"\n");
    let client = Http2::open(&world);
    let slow = client.get("/delay/900", &[("x-api-key", key.text())]);
    assert_eq!(slow.answer.status, 200);
    eventually("it is told", || !client.is_open());
    // One that takes no notice is closed all the same, and hears GOAWAY first.
    let mut deaf = Frames::open(&world);
    assert!(deaf.until_end().contains(&7));
}

#[test]
fn a_slow_body_is_refused_and_a_stream_that_takes_nothing_is_reset_and_others_go_on() {
    let limits = "[timeouts]\nrequest_body_idle = \"300ms\"\nwrite_stall = \"300ms\"\n";
    let (world, key) = world(limits);
    let client = Http2::open(&world);
    let key = ("x-api-key", key.text());
    let request = Request::post("http://api.example/")
        .header(key.0, key.1)
        .body(())
        .unwrap();
    let began = Instant::now();
    let (response, _stream) = client.begin(request, Some("the beginning"));
    let refused = client.finish(response).answer;
    assert_eq!((refused.status, refused.code().as_str()), (400, "INVALID_INPUT"));
    assert!(began.elapsed() < Duration::from_millis(300) + SLACK);
    // More than the windows hold, and none of it is taken.
    let (stuck, _stream) = client.begin(get("/bytes/50000000", &[key]), None);
    let (head, mut body) = world.runtime.block_on(stuck).unwrap().into_parts();
    assert_eq!(head.status, 200);
    assert_eq!(client.get("/plain", &[key]).answer.status, 200);
    eventually("it is given up", || in_flight(&world) == 0);
    let broken = world.runtime.block_on(async {
        while let Some(piece) = body.data().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Some(error),
            };
            let _ = body.flow_control().release_capacity(piece.len());
        }
        None
    });
    assert_eq!(broken.and_then(|error| error.reason()), Some(h2::Reason::CANCEL));
    assert_eq!(client.get("/plain", &[key]).answer.status, 200);
}
