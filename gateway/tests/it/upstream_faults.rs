//! Whatever a machine of an upstream does: the right status, no call that never ends, and nothing of it in the
//! next call.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keyward_contract::{KeyKind, Limits};

use crate::cut::eventually;
use crate::fixture::{Answer, Key, Keys, World, get, read_answer};
use crate::scripted::{Machine, Request, Then, answer, say};

/// A gateway of little patience before these machines, and a key for it.
pub(crate) fn before(machines: &[SocketAddr], settings: &str) -> (World, Key) {
    let limits = "[timeouts]\nwrite_stall = \"600ms\"\nconnect = \"500ms\"\nresponse_headers = \"1s\"\n\
                  request_body_idle = \"20s\"\nrequest = \"2s\"\n";
    start(machines, settings, limits)
}

/// The same with the usual time limits.
pub(crate) fn patient(machines: &[SocketAddr], settings: &str) -> (World, Key) {
    start(machines, settings, "")
}

/// The same with calls that cost a quarter of what there is.
pub(crate) fn costly(machines: &[SocketAddr], settings: &str) -> (World, Key) {
    start(machines, settings, "cost = 50\n")
}

fn start(machines: &[SocketAddr], settings: &str, more: &str) -> (World, Key) {
    let mut keys = Keys::new();
    let account = keys.account(|account| account.limits = Limits { rate: 1, burst: 200 });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let endpoints: Vec<_> = machines
        .iter()
        .map(|address| format!("\"http://{address}\""))
        .collect();
    let endpoints = endpoints.join(", ");
    let world = World::start(
        &keys,
        &format!(
            "[[upstreams]]\nname = \"scripted\"\nendpoints = [{endpoints}]\n{settings}\n\
             [[routes]]\npath = \"/\"\nupstream = \"scripted\"\nrequire = \"account\"\n{more}"
        ),
    );
    (world, key)
}

pub(crate) fn call(world: &World, key: &Key, target: &str) -> Answer {
    world.get(target, &[("x-api-key", key.text())])
}

/// Calls in flight, as the metrics say.
pub(crate) fn in_flight(world: &World) -> f64 {
    world.metric("keyward_requests_in_flight")
}

/// A machine on which `/fault` goes wrong in this way, and everything else well.
fn faulty(fault: impl Fn(&Request, &mut TcpStream) -> Then + Send + Sync + 'static) -> Machine {
    Machine::start(move |request, stream| {
        if request.is_for("/fault") {
            fault(request, stream)
        } else {
            answer(stream, 200, "well")
        }
    })
}

/// After whatever has happened, the gateway has no call in hand, and the next ones are their own.
#[track_caller]
fn check_clean(world: &World, key: &Key) {
    eventually("no call in flight", || in_flight(world) == 0.0);
    for _ in 0..4 {
        let next = call(world, key, "/next");
        assert_eq!((next.status, next.body.as_slice()), (200, b"well".as_slice()));
    }
}

/// The answer to a call that goes wrong before its head is whole.
#[track_caller]
fn check_status(
    expected: (u16, &str),
    fault: impl Fn(&Request, &mut TcpStream) -> Then + Send + Sync + 'static,
) {
    let machine = faulty(fault);
    let (world, key) = before(&[machine.address], "");
    // With a pooled connection and without one.
    for _ in 0..2 {
        let began = Instant::now();
        let told = call(&world, &key, "/fault");
        assert_eq!((told.status, told.code().as_str()), expected);
        assert!(began.elapsed() < Duration::from_secs(10));
        check_clean(&world, &key);
    }
}

#[test]
fn a_machine_that_refuses_is_503_and_nothing_is_charged() {
    let (world, key) = before(&[Machine::nobody()], "");
    for _ in 0..3 {
        let told = call(&world, &key, "/");
        assert_eq!((told.status, told.code().as_str()), (503, "UPSTREAM_UNAVAILABLE"));
        assert_eq!(told.header("x-ratelimit-remaining"), Some("200"));
    }
    eventually("no call in flight", || in_flight(&world) == 0.0);
}

#[test]
fn a_machine_that_says_nothing_is_504() {
    check_status((504, "UPSTREAM_TIMEOUT"), |_, _| Then::Hang);
    check_status((504, "UPSTREAM_TIMEOUT"), |_, _| Then::Freeze);
}

#[test]
fn a_machine_that_stops_within_its_head_is_504() {
    check_status((504, "UPSTREAM_TIMEOUT"), |_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\ncontent-le");
        Then::Hang
    });
}

#[test]
fn a_machine_that_only_ever_answers_for_the_time_being_is_502() {
    check_status((502, "BAD_GATEWAY"), |_, stream| {
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").is_ok() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Then::Close
    });
}

#[test]
fn a_machine_that_goes_before_it_answers_is_502() {
    check_status((502, "BAD_GATEWAY"), |_, _| Then::Close);
    check_status((502, "BAD_GATEWAY"), |_, _| Then::Reset);
    check_status((502, "BAD_GATEWAY"), |_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\ncontent-le");
        Then::Reset
    });
}

#[test]
fn an_answer_against_the_rules_is_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\0\0\0\0\0\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nxxxxx",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        check_status((502, "BAD_GATEWAY"), move |_, stream| {
            say(stream, garbage);
            Then::Keep
        });
    }
}

#[test]
fn a_head_without_an_end_is_502() {
    check_status((502, "BAD_GATEWAY"), |_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\n");
        let many = "x-more: and more\r\n".repeat(100);
        while stream.write_all(many.as_bytes()).is_ok() {}
        Then::Close
    });
    check_status((502, "BAD_GATEWAY"), |_, stream| {
        say(stream, "HTTP/1.1 200 OK\r\nx: ");
        while stream.write_all(&[b'x'; 4_096]).is_ok() {}
        Then::Close
    });
}

/// A body that goes wrong: the client gets some of what came and then the end of its connection, never a whole answer.
#[track_caller]
fn check_cut(fault: impl Fn(&Request, &mut TcpStream) -> Then + Send + Sync + 'static) {
    let machine = faulty(fault);
    let (world, key) = before(&[machine.address], "");
    for _ in 0..2 {
        let began = Instant::now();
        let mut stream = world.connect();
        stream
            .write_all(get("/fault", &[("x-api-key", key.text())]).as_bytes())
            .unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all);
        // What was not yet on its way may be lost with the rest.
        assert!(all.is_empty() || all.starts_with("HTTP/1.1 200"), "{all}");
        assert!(!all.ends_with("0\r\n\r\n"), "the answer looks whole: {all}");
        assert!(began.elapsed() < Duration::from_secs(10));
        check_clean(&world, &key);
    }
    assert!(world.metric("keyward_upstream_failures_total{upstream=\"scripted\",reason=\"body\"}") >= 2.0);
}

const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\npart";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";

#[test]
fn a_body_that_is_reset_is_cut_for_the_client_too() {
    for head in [SIZED, CHUNKED] {
        check_cut(move |_, stream| {
            say(stream, head);
            // What is reset at once might take the part with it.
            std::thread::park_timeout(Duration::from_millis(100));
            Then::Reset
        });
        check_cut(move |_, stream| {
            say(stream, head);
            Then::Close
        });
    }
}

#[test]
fn a_chunk_that_is_none_cuts_the_answer() {
    check_cut(|_, stream| {
        say(stream, CHUNKED);
        say(stream, "no chunk\r\n");
        Then::Keep
    });
}

#[test]
fn a_body_that_stops_ends_with_the_calls_time() {
    for head in [SIZED, CHUNKED] {
        check_cut(move |_, stream| {
            say(stream, head);
            Then::Hang
        });
    }
}

#[test]
fn what_follows_an_answer_is_nobodys() {
    let machine = faulty(|_, stream| {
        say(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwellHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged",
        );
        Then::Keep
    });
    let (world, key) = before(&[machine.address], "");
    for _ in 0..5 {
        assert_eq!(call(&world, &key, "/fault").body, b"well");
        check_clean(&world, &key);
    }
}

#[test]
fn a_machine_that_does_not_read_a_body_is_504_and_not_the_clients_fault() {
    let machine = faulty(|_, _| Then::Freeze);
    let (world, key) = before(&[machine.address], "");
    let mut stream = world.connect();
    let head = format!(
        "POST /fault HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: 67108864\r\n\r\n",
        key.text()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        let piece = [b'x'; 65_536];
        while writer.write_all(&piece).is_ok() {}
    });
    let told = read_answer(&mut stream);
    assert_eq!((told.status, told.code().as_str()), (504, "UPSTREAM_TIMEOUT"));
    drop(stream);
    sent.join().unwrap();
    check_clean(&world, &key);
}

#[test]
fn an_upload_that_takes_longer_than_an_answer_may_is_no_fault() {
    let machine = Machine::start(|request, stream| {
        let mut body = vec![0; 8];
        stream.read_exact(&mut body).unwrap();
        assert!(request.head.starts_with("POST"));
        answer(stream, 200, std::str::from_utf8(&body).unwrap())
    });
    let (world, key) = before(&[machine.address], "");
    let mut stream = world.connect();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: 8\r\n\r\n",
        key.text()
    );
    stream.write_all(head.as_bytes()).unwrap();
    for byte in b"slowbody" {
        // Eight times this is more than an answer may take.
        std::thread::park_timeout(Duration::from_millis(180));
        stream.write_all(&[*byte]).unwrap();
    }
    let answer = read_answer(&mut stream);
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"slowbody".as_slice())
    );
}

/// Memory of this process, which the gateway is a part of, without mapped files.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() << 10
}

#[test]
fn ten_gibibytes_pass_in_little_memory() {
    const SIZE: u64 = 10 << 30;
    static PIECE: [u8; 1 << 18] = [b'x'; 1 << 18];
    let machine = Machine::start(|_, stream| {
        say(
            stream,
            &format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"),
        );
        let mut left = SIZE;
        while left > 0 && stream.write_all(&PIECE).is_ok() {
            left -= PIECE.len() as u64;
        }
        Then::Keep
    });
    let (world, key) = patient(&[machine.address], "");
    let before = resident_bytes();
    let mut stream = world.connect();
    stream
        .write_all(get("/", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    let mut piece = vec![0; 1 << 18];
    let (mut received, mut most) = (0_u64, 0);
    while received < SIZE {
        let count = stream.read(&mut piece).unwrap();
        assert_ne!(count, 0, "it ended after {received} bytes");
        received += count as u64;
        if received % (64 << 20) < count as u64 {
            most = most.max(resident_bytes());
            // Meanwhile as much comes as there is room for on the way; it is read at once then.
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 24 << 20, "{} MiB more while it passed", grown >> 20);
}

#[test]
fn a_machine_is_found_by_its_name() {
    let machine = Machine::named("found");
    let port = machine.address.port();
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        &format!(
            "[[upstreams]]\nname = \"scripted\"\nendpoints = [\"http://localhost:{port}\"]\n\
             [[upstreams]]\nname = \"lost\"\nendpoints = [\"http://keyward.invalid:{port}\"]\n\
             [[routes]]\npath = \"/\"\nupstream = \"scripted\"\nrequire = \"account\"\n\
             [[routes]]\npath = \"/lost\"\nupstream = \"lost\"\nrequire = \"account\"\n"
        ),
    );
    assert_eq!(call(&world, &key, "/").body, b"found");
    assert_eq!(call(&world, &key, "/lost").code(), "UPSTREAM_UNAVAILABLE");
    let state = world.admin("/debug/state").json();
    let resolved = &state["upstreams"][0]["machines"][0]["resolved"];
    assert!(
        resolved.as_array().is_some_and(|known| !known.is_empty()),
        "{state}"
    );
}
