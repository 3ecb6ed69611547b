//! A gateway whose next version takes over while it serves: real processes, and calls all the while.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use keyward_contract::{KeyKind, Limits};
use keyward_gateway::ledger::{Ledger, LedgerBounds};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::cut::eventually;
use crate::fixture::{Answer, Key, Keys, World, get, read_answer};
use crate::http2_client::Http2;
use crate::upgrades::{Echo, configuration, connect, says};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";
const DRAIN: &str = "[drain]\ntimeout = \"3s\"\n";

/// `keyward-gateway` as a process, and whoever takes over from it.
struct Served {
    world: World,
    key: Key,
    proxy: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
    first: Child,
    /// All that ever served.
    pids: Vec<u32>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn kill(signal: &str, pid: u32) {
    let sent = Command::new("sh")
        .args([
            "-c",
            "kill -s \"$1\" \"$2\" 2>/dev/null",
            "sh",
            signal,
            &pid.to_string(),
        ])
        .status();
    sent.unwrap();
}

fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// The process that this one started, if one lives.
fn child_of(parent: u32) -> Option<u32> {
    let mut all = std::fs::read_dir("/proc").unwrap().flatten();
    all.find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut rest = stat.rsplit(") ").next()?.split(' ');
        let (state, of) = (rest.next()?, rest.next()?);
        (state != "Z" && of == parent.to_string()).then_some(pid)
    })
}

impl Served {
    fn start(limits: Limits, more: &str) -> Self {
        Self::start_with(limits, |_| more.to_owned(), &[])
    }

    fn start_with(limits: Limits, more: impl FnOnce(&World) -> String, environment: &[(&str, &str)]) -> Self {
        let mut keys = Keys::new();
        let account = keys.account(|account| account.limits = limits);
        let key = keys.key(KeyKind::Account, &account, |_| {});
        let mut world = World::start(&keys, "");
        world.drain();
        let more = more(&world);
        let (proxy, admin) = (free_address(), free_address());
        let file = world.folder().join("gateway.toml");
        std::fs::write(&file, addressed(&world, &more, (proxy, admin))).unwrap();
        world.proxy = proxy;
        let first = launch(&file, environment);
        let mut served = Self {
            pids: vec![first.id()],
            world,
            key,
            proxy,
            admin,
            file,
            first,
        };
        served.serves();
        served
    }

    fn write(&self, more: &str) {
        std::fs::write(&self.file, addressed(&self.world, more, (self.proxy, self.admin))).unwrap();
    }

    fn asked(&self, path: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut all = String::new();
        stream.read_to_string(&mut all).ok()?;
        let (head, body) = all.split_once("\r\n\r\n")?;
        Some(Answer {
            status: head.split(' ').nth(1)?.parse().ok()?,
            headers: Vec::new(),
            body: body.into(),
        })
    }

    fn state(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.asked("/debug/state")?.body).ok()
    }

    fn pid(&self) -> Option<u32> {
        u32::try_from(self.state()?["pid"].as_u64()?).ok()
    }

    fn metric(&self, line: &str) -> Option<u64> {
        let text = String::from_utf8(self.asked("/metrics")?.body).unwrap();
        let line = text.lines().find_map(|known| known.strip_prefix(line))?;
        line.trim().parse().ok()
    }

    fn serves(&mut self) {
        eventually("it serves", || {
            self.asked("/readyz").is_some_and(|answer| answer.status == 200)
        });
    }

    fn now(&self) -> u32 {
        *self.pids.last().unwrap()
    }

    /// Has the next program take over, and waits until it has.
    fn upgrade(&mut self) {
        let before = self.now();
        kill("USR2", before);
        let next = Cell::new(before);
        eventually("another one serves", || {
            if let Some(pid) = self.pid() {
                next.set(pid);
            }
            next.get() != before
        });
        self.pids.push(next.get());
    }

    /// Waits until nobody but the last one lives.
    fn alone(&self) {
        let before = &self.pids[..self.pids.len() - 1];
        eventually("the ones before have ended", || {
            !before.iter().any(|pid| lives(*pid))
        });
    }

    fn call(&self, target: &str) -> Answer {
        self.world.get(target, &[("x-api-key", self.key.text())])
    }

    /// Ends the last one in good order.
    fn stop(&self) {
        kill("TERM", self.now());
        eventually("all have ended", || !self.pids.iter().any(|pid| lives(*pid)));
    }

    /// All that was counted, by a start that comes after.
    fn counted(&self) -> u64 {
        let bounds = LedgerBounds {
            max_size: 1 << 30,
            sync_interval: Duration::from_secs(1),
        };
        let ledger = Ledger::open(&self.world.folder().join("ledger"), Vec::new(), bounds).unwrap();
        let accepted = Cell::new(0);
        eventually("all is read", || {
            while let Some(report) = ledger.report(10_000) {
                let more: u64 = report.counters.iter().map(|counter| counter.accepted).sum();
                accepted.set(accepted.get() + more);
                ledger.acknowledged(report.sequence);
            }
            ledger.pending() == 0
        });
        accepted.get()
    }
}

impl Drop for Served {
    #[expect(clippy::print_stderr, reason = "what the gateway said belongs to the failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.file.with_extension("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        if let Some(pid) = self.pid() {
            self.pids.push(pid);
        }
        for pid in self.pids.iter().skip(1).filter(|pid| lives(**pid)) {
            child_of(*pid).into_iter().for_each(|pid| kill("KILL", pid));
            kill("KILL", *pid);
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

fn launch(file: &Path, environment: &[(&str, &str)]) -> Child {
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file.with_extension("log"))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward-gateway"));
    command
        .arg("--config")
        .arg(file)
        .envs(environment.iter().copied())
        .stderr(log);
    command.spawn().unwrap()
}

fn addressed(world: &World, more: &str, (proxy, admin): (SocketAddr, SocketAddr)) -> String {
    world
        .text(more)
        .replace("proxy = \"127.0.0.1:0\"", &format!("proxy = \"{proxy}\""))
        .replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{admin}\""))
}

const PLENTY: Limits = Limits {
    rate: 1_000_000,
    burst: 1_000_000,
};

/// Calls on keep-alive connections until it is told to stop; every one must be answered with 200.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Result<u64, String>>>,
}

impl Load {
    fn start(served: &Served, connections: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let request = get("/echo", &[("x-api-key", served.key.text())]);
        let threads = (0..connections)
            .map(|_| {
                let (stop, request, proxy) = (Arc::clone(&stop), request.clone(), served.proxy);
                std::thread::spawn(move || calls(proxy, &request, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .sum()
    }
}

fn calls(proxy: SocketAddr, request: &str, stop: &AtomicBool) -> Result<u64, String> {
    let (mut calls, mut open): (u64, Option<TcpStream>) = (0, None);
    while !stop.load(Ordering::SeqCst) {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => TcpStream::connect(proxy).map_err(|error| format!("connect: {error}"))?,
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
            .write_all(request.as_bytes())
            .map_err(|error| format!("write after {calls}: {error}"))?;
        let mut first = [0];
        // A connection that ends without an answer is a call that failed.
        match stream.peek(&mut first) {
            Ok(1) => {}
            other => return Err(format!("no answer after {calls}: {other:?}")),
        }
        let answer = read_answer(&mut stream);
        if answer.status != 200 {
            return Err(format!("{answer:?}"));
        }
        calls += 1;
        if answer.header("connection") != Some("close") {
            open = Some(stream);
        }
    }
    Ok(calls)
}

#[test]
fn three_upgrades_under_load_lose_no_call_and_each_is_counted_once() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    let seen = served.world.upstream_calls();
    let load = Load::start(&served, 6);
    let mut slow = served.world.connect();
    slow.write_all(get("/delay/1500", &[("x-api-key", served.key.text())]).as_bytes())
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
fn an_upgrade_that_fails_before_or_after_it_was_given_everything_changes_nothing() {
    let good = format!("{ROUTE}{DRAIN}");
    let mut served = Served::start(PLENTY, &good);
    let load = Load::start(&served, 2);
    let first = served.now();
    let failed = |served: &Served, times| {
        eventually("it has failed", || {
            served.metric("keyward_upgrades_total{outcome=\"failed\"}") == Some(times)
        });
        assert_eq!((served.pid(), child_of(first)), (Some(first), None));
        assert_eq!(served.call("/echo").status, 200);
    };
    // The file watch may refuse it, too; that is another matter.
    std::fs::write(&served.file, "nonsense").unwrap();
    kill("USR2", first);
    failed(&served, 1);
    // Fails when everything was given: the address is somebody else's.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = addressed(&served.world, &good, (served.proxy, taken.local_addr().unwrap()));
    std::fs::write(&served.file, text).unwrap();
    kill("USR2", first);
    failed(&served, 2);
    served.write(&good);
    served.upgrade();
    served.alone();
    let calls = load.end() + 2;
    served.stop();
    assert_eq!(served.counted(), calls);
}

#[test]
fn a_heir_that_is_killed_at_any_moment_leaves_somebody_serving_or_a_clean_restart() {
    let mut served = Served::start(PLENTY, &format!("{ROUTE}{DRAIN}"));
    let mut calls = 0;
    for moment in [0, 2, 5, 10, 20, 40, 80] {
        let before = served.now();
        let failed = |served: &Served| served.metric("keyward_upgrades_total{outcome=\"failed\"}");
        let failed_before = failed(&served);
        kill("USR2", before);
        let deadline = Instant::now() + Duration::from_secs(10);
        let heir = loop {
            if let Some(heir) = child_of(before) {
                break heir;
            }
            assert!(Instant::now() < deadline, "no heir");
        };
        std::thread::sleep(Duration::from_millis(moment));
        kill("KILL", heir);
        eventually("the heir is gone", || !lives(heir));
        let settled = || {
            // The same program counts one more, or it is gone.
            !lives(before)
                || failed(&served).is_some_and(|now| failed_before.is_some_and(|before| now > before))
        };
        eventually("it is settled who serves", settled);
        if !lives(before) {
            // The heir had taken over: what a supervisor does.
            let _ = served.first.wait();
            served.first = launch(&served.file, &[]);
            served.pids.push(served.first.id());
            served.serves();
        }
        for _ in 0..3 {
            assert_eq!(served.call("/echo").status, 200);
            calls += 1;
        }
    }
    served.upgrade();
    served.alone();
    served.stop();
    assert_eq!(served.counted(), calls);
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
