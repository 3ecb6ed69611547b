//! Attacks that take time or room: whatever is slow or too much ends, in bounded time and memory, and the next caller is
//! served meanwhile and afterwards.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::client::Delivery;
use super::ground::Ground;

/// Short limits, so that nothing here takes long.
const SHORT: &str = r#"
[timeouts]
first_byte = "300ms"
request_headers = "300ms"
request_body_idle = "300ms"
request_body_rate = 10000
write_stall = "300ms"
idle = "300ms"
"#;
/// By when a limit of 300 ms must have shown on a busy machine.
const SOON: Duration = Duration::from_secs(5);

fn head(path: &str, framing: &str) -> String {
    format!("POST {path} HTTP/1.1\\r\\nhost: api.example\\r\\nx-api-key: {{key}}\\r\\n{framing}\\r\\n\\r\\n")
}

fn connect(ground: &Ground) -> TcpStream {
    let stream = TcpStream::connect(ground.world.proxy).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream
}

/// Sends a piece now and then, until the gateway ends the connection; how long that took.
fn drip(ground: &Ground, start: &[u8], piece: &[u8], pause: Duration) -> Duration {
    let mut stream = connect(ground);
    let began = Instant::now();
    stream.set_read_timeout(Some(pause)).unwrap();
    let _ = stream.write_all(start);
    let mut space = [0; 4096];
    while began.elapsed() < SOON {
        match stream.read(&mut space) {
            Ok(0) => return began.elapsed(),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                if !piece.is_empty() && stream.write_all(piece).is_err() {
                    return began.elapsed();
                }
            }
            Err(_) => return began.elapsed(),
        }
    }
    panic!("the connection is still open");
}

#[test]
fn who_is_slow_is_ended_and_nobody_waits_for_it() {
    let ground = Ground::with(SHORT);
    let pause = Duration::from_millis(20);
    let sized = ground.bytes(&head("/a", "content-length: 1000000"));
    let chunked = ground.bytes(&head("/a", "transfer-encoding: chunked"));
    let kept = ground.bytes("GET /good HTTP/1.1\\r\\nhost: api.example\\r\\nx-api-key: {key}\\r\\n\\r\\n");
    let attacks: [(&str, &[u8], &[u8]); 8] = [
        ("not a byte", b"", b""),
        ("a head by the byte", b"GET / HTTP/1.1\r\nx: ", b"y"),
        ("a head by the line", b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
        ("empty lines for ever", b"", b"\r\n"),
        ("nothing of a body", &sized, b""),
        ("a body by the byte", &sized, b"a"),
        ("chunks of a byte", &chunked, b"1\r\na\r\n"),
        ("a kept connection", &kept, b""),
    ];
    std::thread::scope(|scope| {
        for (what, start, piece) in attacks {
            let ground = &ground;
            scope.spawn(move || {
                let took = drip(ground, start, piece, pause);
                assert!(took >= Duration::from_millis(200), "{what} ended after {took:?}");
            });
        }
        for _ in 0..20 {
            ground.good().unwrap();
        }
    });
    ground.good().unwrap();
    let seen = ground.recorder.take().unwrap();
    assert!(seen.iter().filter(|record| !record.is_whole).count() <= 3);
    assert!(
        seen.iter()
            .filter(|record| record.is_whole)
            .all(|record| record.bytes.starts_with(b"GET /good"))
    );
}

#[test]
fn a_body_that_is_slow_enough_is_served() {
    let ground = Ground::with(&SHORT.replace("request_body_rate = 10000", "request_body_rate = 100"));
    let mut stream = connect(&ground);
    stream
        .write_all(&ground.bytes(&head("/a", "content-length: 400")))
        .unwrap();
    // 400 bytes over more than the 300 ms from which the rate counts.
    let began = Instant::now();
    let mut sent = 0;
    let mut space = [0; 1024];
    while sent < 400 {
        let read = stream.read(&mut space);
        assert!(read.is_err(), "{read:?} after {sent} in {:?}", began.elapsed());
        stream.write_all(&[b'a'; 8]).unwrap();
        sent += 8;
    }
    assert!(began.elapsed() > Duration::from_millis(600));
    stream.set_read_timeout(Some(SOON)).unwrap();
    let count = stream.read(&mut space).unwrap();
    assert!(space[..count].starts_with(b"HTTP/1.1 200"));
}

#[test]
fn a_slow_upstream_is_not_taken_for_a_slow_client() {
    let ground = Ground::with("[timeouts]\nresponse_headers = \"300ms\"");
    for (framing, body) in [
        ("content-length: 2", "ok"),
        ("transfer-encoding: chunked", "2\\r\\nok\\r\\n0\\r\\n\\r\\n"),
    ] {
        let mut client = ground.connect();
        let bytes = [ground.bytes(&head("/never", framing)), ground.bytes(body)].concat();
        client.send(&bytes, Delivery::Whole);
        assert_eq!(client.answer(false).unwrap().status, 504, "{framing}");
    }
}

#[test]
fn a_client_that_does_not_read_is_ended() {
    let ground = Ground::with(&SHORT.replace("\nidle = \"300ms\"", ""));
    let mut stream = connect(&ground);
    // Refusals that nobody reads, until every buffer on the way is full.
    let request = b"GET /a HTTP/1.1\r\nhost: api.example\r\n\r\n".repeat(1000);
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let began = Instant::now();
    let mut sent = 0;
    loop {
        match stream.write(&request) {
            Ok(count) => sent += count,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
        assert!(
            began.elapsed() < SOON * 4,
            "the connection is still open after {sent} bytes"
        );
    }
    ground.good().unwrap();
}

#[test]
fn more_connections_than_there_may_be_are_closed_and_a_place_that_is_left_is_taken() {
    let ground = Ground::with("[bounds]\nconnections = 20");
    let mut held: Vec<TcpStream> = Vec::new();
    let began = Instant::now();
    let mut turned_away = 0;
    while turned_away < 30 {
        assert!(
            began.elapsed() < SOON,
            "{turned_away} turned away, {} held",
            held.len()
        );
        let mut stream = connect(&ground);
        let _ = stream.write_all(b"GET");
        match stream.read(&mut [0; 16]) {
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                held.push(stream);
            }
            _ => turned_away += 1,
        }
    }
    assert!(held.len() <= 20, "{}", held.len());
    held.clear();
    while ground.good_or_closed().is_none() {
        assert!(began.elapsed() < SOON * 2, "no place was left");
    }
}

#[test]
fn a_flood_of_pipelined_calls_is_answered_one_by_one() {
    let ground = Ground::start();
    let mut client = ground.connect();
    let one = ground.bytes("GET /good HTTP/1.1\\r\\nhost: api.example\\r\\nx-api-key: {key}\\r\\n\\r\\n");
    client.send(&one.repeat(500), Delivery::Whole);
    for _ in 0..500 {
        assert_eq!(client.answer(false).unwrap().status, 200);
    }
    assert_eq!(ground.recorder.take().unwrap().len(), 500);
}

#[test]
fn tiny_and_huge_chunks_become_the_same_body() {
    let ground = Ground::start();
    let head = ground.bytes(&head("/a", "transfer-encoding: chunked"));
    let tiny = [&head[..], &b"1\r\na\r\n".repeat(20_000), b"0\r\n\r\n"].concat();
    let huge = [&head[..], b"200000\r\n", &vec![b'a'; 0x20_0000], b"\r\n0\r\n\r\n"].concat();
    for (bytes, length) in [(tiny, 20_000), (huge, 0x20_0000)] {
        let mut client = ground.connect();
        client.send(&bytes, Delivery::Whole);
        assert_eq!(client.answer(false).unwrap().status, 200);
        let seen = ground.recorder.take().unwrap().remove(0);
        assert!(seen.is_whole);
        let end = seen
            .bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert_eq!(seen.bytes.len() - end, length);
    }
}

#[test]
fn half_closed_connections_are_over() {
    let ground = Ground::start();
    let many: Vec<TcpStream> = (0..50)
        .map(|index| {
            let mut stream = connect(&ground);
            let part = ["", "GET", "GET / HTTP/1.1\r\nhost: a\r\n"][index % 3];
            stream.write_all(part.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream
        })
        .collect();
    for mut stream in many {
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut rest = Vec::new();
        // What was sent may be reset or answered; it is over either way.
        if stream.read_to_end(&mut rest).is_ok() {
            assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{rest:?}");
        }
    }
    ground.good().unwrap();
}

#[test]
fn a_client_that_still_sends_hears_why_it_was_refused() {
    let ground = Ground::start();
    let too_much = ground.bytes(&head("/small/a", "content-length: 800000"));
    let starts: [(&[u8], u16); 3] = [
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (&too_much, 413),
    ];
    for (start, status) in starts {
        let mut stream = connect(&ground);
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(start).unwrap();
        // It is answered by now, and goes on in small pieces: none of them is met by a reset.
        let mut answer = vec![0; 4096];
        let count = stream.read(&mut answer).unwrap();
        answer.truncate(count);
        assert!(
            answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()),
            "{status}"
        );
        for _ in 0..800 {
            stream.write_all(&[b'a'; 1000]).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut answer).unwrap();
    }
}

#[test]
fn a_client_that_never_stops_sending_is_not_heard_for_ever() {
    let ground = Ground::start();
    let start = ground.bytes(&head("/small/a", "content-length: 100000000000"));
    let pause = Duration::from_millis(20);
    // As fast as it can, and a byte now and then.
    let senders = [(vec![b'a'; 0x10000], 64 << 20), (vec![b'a'], usize::MAX)];
    for (piece, most) in senders {
        let mut stream = connect(&ground);
        stream.write_all(&start).unwrap();
        let (began, mut sent) = (Instant::now(), 0);
        while stream.write_all(&piece).is_ok() {
            sent += piece.len();
            assert!(sent < most && began.elapsed() < SOON, "after {sent} bytes");
            if piece.len() == 1 {
                std::thread::park_timeout(pause);
            }
        }
    }
    ground.good().unwrap();
}
