//! A gateway whose next version takes over while it serves: real processes, and calls all the while.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use keyward_contract::Limits;
use keyward_gateway::keys::KeySet;
use keyward_gateway::ledger::{Ledger, LedgerError};
use keyward_gateway::telemetry::TierSlot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::cut::eventually;
use crate::fixture::{get, read_answer};
use crate::handover_ground::{BOUNDS, DRAIN, Load, PLENTY, ROUTE, Served, addressed, kill, lives};
use crate::http2_client::{self, Http2};
use crate::upgrades::{Echo, configuration, connect, says};

#[test]
fn three_upgrades_under_load_lose_no_call_and_each_is_counted_once() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    let seen = served.world.upstream_calls();
    let load = Load::start(&served, 6);
    let mut slow = served.world.connect();
    slow.write_all(get("/delay/2500", &[("x-api-key", served.key.text())]).as_bytes())
        .unwrap();
    eventually("it is under way", || served.world.upstream_calls() > seen + 20);
    for _ in 0..3 {
        served.upgrade();
        served.alone();
    }
    let slow = read_answer(&mut slow);
    assert_eq!((slow.status, slow.header("connection")), (200, Some("close")));
    let calls = load.end() + 1;
    assert!(calls > 100, "{calls}");
    assert_eq!(
        served.metric("keyward_upgrades_total{outcome=\"taken_over\"}"),
        Some(1)
    );
    served.stop();
    assert_eq!((served.counted(), served.world.upstream_calls()), (calls, calls));
    assert!(served.first.wait().unwrap().success());
}

#[test]
fn an_upload_ends_and_a_websocket_is_told_to_come_back() {
    let echo = Echo::default();
    let mut served = Served::start_with(
        PLENTY,
        |world| configuration(echo.start(&world.runtime), DRAIN),
        &[],
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut socket = runtime.block_on(connect(served.proxy, &served.key));
    runtime.block_on(says(&mut socket, Message::text("before")));
    let mut upload = served.world.connect();
    let head = get(
        "/echo",
        &[("x-api-key", served.key.text()), ("content-length", "10")],
    );
    upload.write_all(head.replace("GET", "POST").as_bytes()).unwrap();
    upload.write_all(b"01234").unwrap();
    served.upgrade();
    upload.write_all(b"56789").unwrap();
    assert_eq!(read_answer(&mut upload).status, 200);
    let closed = runtime.block_on(async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(closed, Some(CloseCode::Away));
    let mut again = runtime.block_on(connect(served.proxy, &served.key));
    runtime.block_on(says(&mut again, Message::text("after")));
    served.alone();
    drop(again);
}

/// Calls over HTTP/2, on another connection once one takes no more; every call must be answered with 200, but for those of which
/// the GOAWAY itself says that nothing was done about them (RFC 9113 §6.8): that none of them was is seen by the count.
fn calls_over_http2(open: impl Fn() -> Http2, key: &str, stop: &AtomicBool) -> u64 {
    let (mut calls, mut client) = (0, open());
    while !stop.load(Ordering::SeqCst) {
        let Some(whole) = client.try_get("/echo", &[("x-api-key", key)]) else {
            client = open();
            continue;
        };
        if whole.reset.as_ref().is_some_and(is_untouched) && whole.answer.status == 0 {
            client = open();
            continue;
        }
        assert_eq!(whole.answer.status, 200, "after {calls}: {:?}", whole.reset);
        calls += 1;
    }
    calls
}

/// A call that was on its way when its connection was told to end, and is above the last one that was taken.
fn is_untouched(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

#[test]
fn streams_of_http2_end_where_they_began_and_new_ones_go_to_the_heir() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    let client = Http2::open(&served.world);
    let upload = http::Request::post("http://api.example/echo").header("x-api-key", served.key.text());
    let (answer, mut body) = client.begin(upload.body(()).unwrap(), Some("before "));
    eventually("it is under way", || {
        served.metric("keyward_requests_in_flight ") == Some(1)
    });
    let stop = AtomicBool::new(false);
    let elder = served.now();
    let (runtime, proxy) = (served.world.runtime.handle().clone(), served.proxy);
    let (key, mut calls) = (served.key.text().to_owned(), 1);
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| calls_over_http2(|| Http2::to(proxy, &runtime), &key, &stop)))
            .collect();
        eventually("calls go through", || served.world.upstream_calls() > 20);
        served.upgrade();
        eventually("it is told to go", || !client.is_open());
        assert!(lives(elder), "a call of its own is under way");
        body.send_data(bytes::Bytes::from_static(b"after"), true).unwrap();
        let whole = client.finish(answer);
        assert_eq!(
            (whole.answer.status, &whole.answer.json()["body"]),
            (200, &"before after".into())
        );
        served.alone();
        served.upgrade();
        served.alone();
        stop.store(true, Ordering::SeqCst);
        calls += load.into_iter().map(|calls| calls.join().unwrap()).sum::<u64>();
    });
    served.stop();
    assert_eq!((served.counted(), served.world.upstream_calls()), (calls, calls));
}

#[test]
fn a_supervisor_is_told_which_process_serves_at_the_start_and_after_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let heard = || {
        let mut heard = [0; 64];
        let length = socket.recv(&mut heard).unwrap();
        String::from_utf8_lossy(&heard[..length]).into_owned()
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let mut served = Served::start_with(PLENTY, |_| format!("{ROUTE}{DRAIN}"), &environment);
    assert_eq!(heard(), format!("READY=1\nMAINPID={}\n", served.now()));
    served.upgrade();
    assert_eq!(heard(), format!("READY=1\nMAINPID={}\n", served.now()));
    served.alone();
}

#[test]
fn http2_connections_are_told_to_come_back_and_their_streams_end() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}[drain]\ntimeout = \"60s\"\n"));
    let key = served.key.text().to_owned();
    let headers = [("x-api-key", key.as_str())];
    let (idle, busy) = (Http2::open(&served.world), Http2::open(&served.world));
    assert_eq!(idle.get("/echo", &headers).answer.status, 200);
    let before = served.world.upstream_calls();
    let (slow, _stream) = busy.begin(http2_client::get("/delay/3000", &headers), None);
    eventually("it is under way", || served.world.upstream_calls() > before);
    served.upgrade();
    eventually("both are told", || !idle.is_open() && !busy.is_open());
    assert_eq!(busy.finish(slow).answer.status, 200);
    let again = Http2::open(&served.world).get("/echo", &headers);
    assert_eq!(again.answer.status, 200);
    served.alone();
    served.stop();
    assert_eq!(served.counted(), 3);
}

#[test]
fn an_elder_that_is_killed_while_it_drains_loses_no_count() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    for _ in 0..7 {
        assert_eq!(served.call("/echo").status, 200);
    }
    let mut slow = served.world.connect();
    let before = served.world.upstream_calls();
    slow.write_all(get("/delay/2500", &[("x-api-key", served.key.text())]).as_bytes())
        .unwrap();
    eventually("it is under way", || served.world.upstream_calls() > before);
    let elder = served.now();
    served.upgrade();
    assert!(lives(elder));
    kill("KILL", elder);
    let _ = served.first.wait();
    assert_eq!(served.call("/echo").status, 200);
    served.stop();
    assert_eq!(served.counted(), 9);
}

#[test]
fn buckets_go_over_to_the_heir() {
    let limits = Limits { rate: 1, burst: 80 };
    let mut served = Served::start(limits, &format!("{ROUTE}{DRAIN}"));
    let began = Instant::now();
    let accepted = |served: &Served, calls: u64| -> u64 {
        (0..calls)
            .map(|_| u64::from(served.call("/echo").status == 200))
            .sum()
    };
    let mut all = accepted(&served, 40);
    assert_eq!(all, 40);
    for _ in 0..2 {
        served.upgrade();
        served.alone();
        all += accepted(&served, 10);
    }
    assert_eq!(all, 60, "what was left is there");
    all += accepted(&served, 60);
    let bound = 80 + began.elapsed().as_secs() + 1;
    assert!(all <= bound, "{all} of {bound}");
}

#[test]
fn connections_that_stayed_with_the_elder_spend_nothing_twice() {
    let limits = Limits { rate: 1, burst: 80 };
    let mut served = Served::start(limits, &format!("{ROUTE}{DRAIN}"));
    let began = Instant::now();
    let request = get("/echo", &[("x-api-key", served.key.text())]);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(request.as_bytes()).unwrap();
        u64::from(read_answer(stream).status == 200)
    };
    let mut kept: Vec<_> = (0..40).map(|_| served.world.connect()).collect();
    let mut all: u64 = kept.iter_mut().map(ask).sum();
    assert_eq!(all, 40);
    served.upgrade();
    // Each may call once more, where it was.
    all += kept.iter_mut().map(ask).sum::<u64>();
    all += (0..50)
        .map(|_| u64::from(served.call("/echo").status == 200))
        .sum::<u64>();
    let bound = 80 + began.elapsed().as_secs() + 1;
    assert!(all > 60 && all <= bound, "{all} of {bound}");
}

#[test]
fn sockets_of_more_workers_than_there_are_now_are_served_and_missing_ones_are_made() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    for count in ["1", "3", "2"] {
        let text = std::fs::read_to_string(&served.file).unwrap();
        let line = text
            .lines()
            .find(|line| line.trim().starts_with("workers = "))
            .unwrap()
            .to_owned();
        std::fs::write(&served.file, text.replace(&line, &format!("workers = {count}"))).unwrap();
        served.upgrade();
        served.alone();
        // The kernel spreads connections over all sockets: one that nobody serves would hang.
        let answers: HashSet<u16> = (0..40).map(|_| served.call("/echo").status).collect();
        assert_eq!(answers, HashSet::from([200]), "{count}");
    }
}

#[test]
fn folders_are_locked_by_whoever_serves_and_by_nobody_else() {
    let good = format!("{ROUTE}{DRAIN}");
    let mut served = Served::start(PLENTY, &good);
    let folder = served.world.folder().to_owned();
    // The replica goes over; the ledger is another one from now on.
    let text = addressed(&served.world, &good, (served.proxy, served.admin));
    std::fs::write(&served.file, text.replace("/ledger\"", "/other\"")).unwrap();
    served.upgrade();
    served.alone();
    let open = |name: &str| Ledger::open(&folder.join(name), Vec::new(), BOUNDS).map(drop);
    assert!(matches!(open("other"), Err(LedgerError::InUse { .. })));
    assert!(open("ledger").is_ok());
    let replica = KeySet::open(&folder.join("replica"), 100, Box::new(|_| TierSlot::NONE));
    assert!(replica.is_err(), "it is in use");
    served.stop();
    assert!(open("other").is_ok());
}

#[test]
fn sighup_and_a_changed_file_reload_and_the_environment_holds_on() {
    let mut served = Served::start_with(
        PLENTY,
        |_| format!("{ROUTE}{DRAIN}"),
        &[("KEYWARD__BOUNDS__URI", "1KiB")],
    );
    let long = format!("/{}", "x".repeat(1_100));
    assert_eq!(served.call(&long).status, 414);
    let route = |path: &str| {
        format!(
            "{}{DRAIN}[bounds]\nuri = \"8KiB\"\n",
            ROUTE.replace("\"/\"", &format!("\"{path}\""))
        )
    };
    served.write(&route("/echo"));
    kill("HUP", served.now());
    eventually("it is reloaded", || served.call("/other").status == 404);
    assert_eq!(served.call("/echo").status, 200);
    assert_eq!(served.call(&long).status, 414);
    let digest = |served: &Served| served.state().unwrap()["configuration"]["digest"].clone();
    let before = digest(&served);
    // Nobody says anything: the file alone.
    served.write(&route("/other"));
    eventually("it is noticed", || served.call("/other").status == 200);
    assert_ne!(digest(&served), before);
    served.write("workers = 99");
    kill("HUP", served.now());
    eventually("it is refused", || {
        served
            .metric("keyward_config_reloads_total{outcome=\"refused\"}")
            .is_some_and(|n| n > 0)
    });
    assert_eq!(served.call("/other").status, 200);
    served.serves();
}
