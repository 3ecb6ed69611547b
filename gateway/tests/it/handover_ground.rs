//! A gateway as a process, whoever takes over from it, and calls meanwhile.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyward_contract::{KeyKind, Limits};
use keyward_gateway::ledger::{Ledger, LedgerBounds};

use crate::cut::eventually;
use crate::fixture::{Answer, Key, Keys, World, get, read_answer};

pub(crate) const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";
pub(crate) const DRAIN: &str = "[drain]\ntimeout = \"3s\"\n";

pub(crate) const BOUNDS: LedgerBounds = LedgerBounds {
    max_size: 1 << 30,
    sync_interval: Duration::from_secs(1),
};

/// `keyward-gateway` as a process, and whoever takes over from it.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) key: Key,
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) file: PathBuf,
    pub(crate) first: Child,
    /// All that ever served.
    pub(crate) pids: Vec<u32>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(crate) fn kill(signal: &str, pid: u32) {
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

/// Whether anything of this process runs. One whose first thread has ended may hold files, and their locks, for a moment longer.
pub(crate) fn lives(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    })
}

/// The process that this one started, if one lives.
pub(crate) fn child_of(parent: u32) -> Option<u32> {
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
    pub(crate) fn start(limits: Limits, more: &str) -> Self {
        Self::start_with(limits, |_| more.to_owned(), &[])
    }

    pub(crate) fn start_with(
        limits: Limits,
        more: impl FnOnce(&World) -> String,
        environment: &[(&str, &str)],
    ) -> Self {
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

    pub(crate) fn write(&self, more: &str) {
        std::fs::write(&self.file, addressed(&self.world, more, (self.proxy, self.admin))).unwrap();
    }

    pub(crate) fn asked(&self, path: &str) -> Option<Answer> {
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

    pub(crate) fn state(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.asked("/debug/state")?.body).ok()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        u32::try_from(self.state()?["pid"].as_u64()?).ok()
    }

    pub(crate) fn metric(&self, line: &str) -> Option<u64> {
        let text = String::from_utf8(self.asked("/metrics")?.body).unwrap();
        let line = text.lines().find_map(|known| known.strip_prefix(line))?;
        line.trim().parse().ok()
    }

    pub(crate) fn serves(&mut self) {
        eventually("it serves", || {
            self.asked("/readyz").is_some_and(|answer| answer.status == 200)
        });
    }

    pub(crate) fn now(&self) -> u32 {
        *self.pids.last().unwrap()
    }

    /// Has the next program take over, and waits until it has.
    pub(crate) fn upgrade(&mut self) {
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
    pub(crate) fn alone(&self) {
        let before = &self.pids[..self.pids.len() - 1];
        eventually("the ones before have ended", || {
            !before.iter().any(|pid| lives(*pid))
        });
    }

    pub(crate) fn call(&self, target: &str) -> Answer {
        self.world.get(target, &[("x-api-key", self.key.text())])
    }

    /// Ends the last one in good order.
    pub(crate) fn stop(&self) {
        kill("TERM", self.now());
        eventually("all have ended", || !self.pids.iter().any(|pid| lives(*pid)));
    }

    /// All that was counted, by a start that comes after.
    pub(crate) fn counted(&self) -> u64 {
        let ledger = Ledger::open(&self.world.folder().join("ledger"), Vec::new(), BOUNDS).unwrap();
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

pub(crate) fn launch(file: &Path, environment: &[(&str, &str)]) -> Child {
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

pub(crate) fn addressed(world: &World, more: &str, (proxy, admin): (SocketAddr, SocketAddr)) -> String {
    world
        .text(more)
        .replace("proxy = \"127.0.0.1:0\"", &format!("proxy = \"{proxy}\""))
        .replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{admin}\""))
}

pub(crate) const PLENTY: Limits = Limits {
    rate: 1_000_000,
    burst: 1_000_000,
};

/// Calls on keep-alive connections until it is told to stop; every one must be answered with 200.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Result<u64, String>>>,
}

impl Load {
    pub(crate) fn start(served: &Served, connections: usize) -> Self {
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

    pub(crate) fn end(self) -> u64 {
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
