//! Unknown keys cost nothing: a million different ones cause no call to the control plane and no growth of memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keyward_contract::{Environment, KeyKind, PlainKey};
use memchr::memmem::Finder;

use crate::relay::Relay;
use crate::stack::{Plan, Stack};
use crate::wire::{Keys, call};

const WARM_UP: usize = 50_000;
const FLOOD: usize = 1_000_000;
/// What a million keys may cost in resident memory.
const GROWTH: u64 = 20 << 20;

const THREADS: usize = 2;
const CONNECTIONS: usize = 8;
/// Requests that are sent before an answer is read; both directions fit into the sockets' buffers.
const BATCH: usize = 64;

/// What a gateway with nothing to tell says in a second: a heartbeat and what the transport needs, many times over.
const SMALL_TALK: u64 = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_unknown_keys_cost_no_call_to_the_control_plane_and_no_memory() {
    let relay = Relay::new();
    let plan = Plan {
        relay: Some(&relay),
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let known = Keys {
        account: &account.key,
        customer: &customer.key,
    };
    assert_eq!(call(stack.gateway(), known).await.status, 200);
    flood(stack.gateway(), WARM_UP).await;

    let began = Instant::now();
    let resident = || stack.gateways[0].process().usage().unwrap().resident_bytes;
    let (before, memory_before, passed_before) =
        (control_plane_calls(&stack).await, resident(), relay.passed());
    flood(stack.gateway(), FLOOD).await;
    let (memory, passed) = (resident(), relay.passed());
    let took = began.elapsed();
    // Looking at its metrics is no call of a surface, so that looking changes nothing.
    assert_eq!(control_plane_calls(&stack).await, before);
    assert_eq!(passed.connections, passed_before.connections);
    let said = passed.bytes - passed_before.bytes;
    let small_talk = SMALL_TALK * (took.as_secs() + 2);
    assert!(said < small_talk, "{said} bytes to the control plane in {took:?}");
    let growth = memory.saturating_sub(memory_before);
    assert!(growth < GROWTH, "{} KiB more in memory", growth / 1024);
    // Whoever is known is served as before.
    assert_eq!(call(stack.gateway(), known).await.status, 200);
}

async fn control_plane_calls(stack: &Stack) -> f64 {
    stack.control_plane_metric("keyward_control_requests_total").await
}

/// Calls with so many keys that nobody was ever given, all of them well-formed, each one once.
async fn flood(gateway: SocketAddr, calls: usize) {
    let threads = (0..THREADS).map(|_| tokio::task::spawn_blocking(move || pour(gateway, calls / THREADS)));
    for thread in threads.collect::<Vec<_>>() {
        thread.await.unwrap();
    }
}

/// One thread's part. All its connections have a batch under way before the first answer is read.
fn pour(gateway: SocketAddr, calls: usize) {
    let mut pipes: Vec<Pipe> = (0..CONNECTIONS).map(|_| Pipe::open(gateway)).collect();
    let mut left = calls;
    while left > 0 {
        for pipe in &mut pipes {
            let batch = left.min(BATCH);
            pipe.send(batch);
            left -= batch;
        }
        for pipe in &mut pipes {
            pipe.read_answers();
        }
    }
}

/// A connection with requests under way whose answers were not read yet.
struct Pipe {
    stream: TcpStream,
    requests: String,
    awaited: usize,
    /// The end of what was read, in which an answer may begin.
    read: Vec<u8>,
    piece: Vec<u8>,
}

const STATUS_LINE: &[u8] = b"HTTP/1.1 ";
const REFUSED: &[u8] = b"HTTP/1.1 401";

impl Pipe {
    fn open(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self {
            stream,
            requests: String::new(),
            awaited: 0,
            read: Vec::new(),
            piece: vec![0; 256 * 1024],
        }
    }

    fn send(&mut self, calls: usize) {
        self.requests.clear();
        for _ in 0..calls {
            let key = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
            for part in [
                "GET / HTTP/1.1\r\nHost: a\r\nx-api-key: ",
                key.expose(),
                "\r\n\r\n",
            ] {
                self.requests.push_str(part);
            }
        }
        self.stream.write_all(self.requests.as_bytes()).unwrap();
        self.awaited = calls;
    }

    fn read_answers(&mut self) {
        while self.awaited > 0 {
            let length = self.stream.read(&mut self.piece).unwrap();
            assert!(length > 0, "closed with {} answers to come", self.awaited);
            self.read.extend_from_slice(&self.piece[..length]);
            let answers = Finder::new(STATUS_LINE).find_iter(&self.read).count();
            let refused = Finder::new(REFUSED).find_iter(&self.read).count();
            let mut rest = self.read.len();
            if answers > refused {
                // The last one may be cut in its status.
                rest = memchr::memmem::rfind(&self.read, STATUS_LINE).unwrap_or(rest);
                let (whole, cut) = self.read.split_at(rest);
                assert!(
                    answers == refused + 1 && cut.len() < REFUSED.len(),
                    "not all refused: {}",
                    String::from_utf8_lossy(whole)
                );
            } else {
                rest = rest.saturating_sub(STATUS_LINE.len() - 1);
            }
            assert!(refused <= self.awaited, "more answers than requests");
            self.awaited -= refused;
            self.read.drain(..rest);
        }
    }
}
