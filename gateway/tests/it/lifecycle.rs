//! Starting, waiting, stopping.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use keyward_contract::KeyKind;

use crate::cut::eventually;
use crate::fixture::{Keys, World, get, read_answer};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"";

#[test]
fn a_gateway_serves_from_its_replica_with_the_control_plane_away_and_again_after_a_restart() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(&keys, ROUTE);
    for _ in 0..2 {
        assert!(world.gateway.as_ref().unwrap().ready());
        assert_eq!(world.get("/", &[("x-api-key", key.text())]).status, 200);
        world.drain();
        world.open(ROUTE);
    }
}

#[test]
fn a_drain_lets_calls_in_flight_end_and_takes_no_new_ones() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(&keys, ROUTE);
    let mut slow = world.connect();
    slow.write_all(get("/delay/700", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    // An idle keep-alive connection must not hold the drain up.
    let mut idle = world.connect();
    idle.write_all(get("/", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    read_answer(&mut idle);
    let began = Instant::now();
    world.drain();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(read_answer(&mut slow).status, 200);
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).unwrap_or_default(), 0);
    assert!(std::net::TcpStream::connect(world.proxy).is_err());
}

#[test]
fn a_drain_waits_for_a_call_no_longer_than_it_may() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(&keys, &format!("{ROUTE}\n[drain]\ntimeout = \"500ms\""));
    let mut endless = world.connect();
    let before = world.upstream_calls();
    endless
        .write_all(get("/delay/60000", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    eventually("it is under way", || world.upstream_calls() > before);
    let began = Instant::now();
    world.drain();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut rest = Vec::new();
    assert_eq!(endless.read_to_end(&mut rest).unwrap_or_default(), 0);
}

/// Sends nothing more and expects the connection to be closed within a few seconds.
#[track_caller]
fn check_closed(world: &World, sent: &[&str]) {
    let mut stream = world.connect();
    for part in sent {
        stream.write_all(part.as_bytes()).unwrap();
    }
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    assert!(
        read.is_ok()
            || read
                .as_ref()
                .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
        "{read:?}"
    );
}

#[test]
fn silent_and_slow_clients_are_not_waited_for() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let limits = "[timeouts]\nfirst_byte = \"100ms\"\nrequest_headers = \"100ms\"\nrequest_body_idle = \"100ms\"\nidle = \"100ms\"";
    let world = World::start(&keys, &format!("{ROUTE}\n{limits}"));
    check_closed(&world, &[]);
    check_closed(&world, &["GET / HTTP/1.1\r\nhost"]);
    check_closed(&world, &[&get("/", &[("x-api-key", key.text())])]);
    let post = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: 9\r\n\r\nxx",
        key.text()
    );
    check_closed(&world, &[&post]);
}

#[test]
fn a_port_that_another_gateway_listens_on_is_refused() {
    let mut keys = Keys::new();
    keys.account(|_| {});
    let world = World::start(&keys, "");
    let taken = keyward_gateway::server::listener::bind(world.proxy, 2);
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

#[track_caller]
fn dozes(world: &World, connections: f64) {
    eventually("it needs no buffers", || {
        world.metric("keyward_connections_dozing ") >= connections
    });
}

#[test]
fn a_connection_that_dozed_between_two_calls_serves_on_and_still_ends_in_time() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(&keys, &format!("{ROUTE}\n[timeouts]\nidle = \"4s\""));
    let request = get("/", &[("x-api-key", key.text())]);
    let mut kept = world.connect();
    for _ in 0..2 {
        kept.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut kept).status, 200);
        dozes(&world, 1.0);
    }
    // The next call comes byte by byte, and two at once after it.
    for byte in request.as_bytes() {
        kept.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read_answer(&mut kept).status, 200);
    kept.write_all(request.repeat(2).as_bytes()).unwrap();
    for _ in 0..2 {
        assert_eq!(read_answer(&mut kept).status, 200);
    }
    let mut rest = Vec::new();
    assert_eq!(
        kept.read_to_end(&mut rest).unwrap_or_default(),
        0,
        "it is closed when its time is over"
    );
    let mut dozing = world.connect();
    dozing.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut dozing).status, 200);
    dozes(&world, 1.0);
    let began = Instant::now();
    world.drain();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "a drain does not wait for it"
    );
}

/// A call, and the beginning of the next with it.
fn one_and_a_half(request: &str) -> String {
    let (begins, _) = request.split_at(request.len() / 2);
    format!("{request}{begins}")
}

#[test]
fn what_came_of_the_next_call_with_the_one_before_is_not_forgotten_however_late_the_rest_comes() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTE);
    let request = get("/", &[("x-api-key", key.text())]);
    let mut begun = world.connect();
    begun.write_all(one_and_a_half(&request).as_bytes()).unwrap();
    assert_eq!(read_answer(&mut begun).status, 200);
    let mut whole = world.connect();
    // An empty line is the beginning of nothing.
    whole.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut whole).status, 200);
    dozes(&world, 1.0);
    let (_, rest) = request.split_at(request.len() / 2);
    begun.write_all(rest.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut begun).status, 200);
    whole.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut whole).status, 200);
}

#[test]
fn a_head_that_began_with_the_call_before_it_has_the_time_of_a_head() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let limits = "[timeouts]\nrequest_headers = \"100ms\"\nidle = \"60s\"";
    let world = World::start(&keys, &format!("{ROUTE}\n{limits}"));
    check_closed(
        &world,
        &[&one_and_a_half(&get("/", &[("x-api-key", key.text())]))],
    );
}
