//! `SIGKILL` at any moment: what the upstream saw is what is counted, to the call. The victims are processes of
//! their own: this program, started again for one test alone.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use keyward_contract::{AccountId, Environment, KeyKind, Limits};
use keyward_gateway::Gateway;
use keyward_gateway::ledger::{CounterKey, Ledger, LedgerBounds};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::cut::eventually;
use crate::fixture::{Key, Keys, get, read_answer};
use crate::upstream_tls::{Authority, server_config};

/// Tells a victim what to work on; everyone else's tests of this name end at once.
const FOLDER: &str = "KEYWARD_TEST_VICTIM_FOLDER";
const UPSTREAM: &str = "KEYWARD_TEST_VICTIM_UPSTREAM";
/// What a victim that serves is told of its upstream.
const SETTINGS: &str = "KEYWARD_TEST_VICTIM_SETTINGS";

const MESSAGE: usize = 64;
const ACCOUNTS: u128 = 3;
const WORKERS: usize = 2;

fn victim(test: &str, folder: &Path, upstream: SocketAddr) -> Child {
    victim_with(test, folder, upstream, "")
}

fn victim_with(test: &str, folder: &Path, upstream: SocketAddr, settings: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(SETTINGS, settings)
        .args([&format!("killed::{test}"), "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(UPSTREAM, upstream.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn orders() -> Option<(PathBuf, SocketAddr)> {
    let upstream = std::env::var(UPSTREAM).ok()?;
    Some((
        PathBuf::from(std::env::var_os(FOLDER)?),
        upstream.parse().unwrap(),
    ))
}

fn kill(mut victim: Child) {
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// A moment that nobody chose.
fn moment(most_us: u64) -> Duration {
    Duration::from_micros(keyward_gateway::random::next() % most_us)
}

/// What a control plane holds: the greatest value of each counter, by (boot epoch, subject, route, hour).
#[derive(Default)]
struct ControlPlane(HashMap<(u64, Vec<u8>, String, i64), u64>);

impl ControlPlane {
    /// Starts on the folder, takes what there is, and acknowledges it or not.
    fn visit(&mut self, folder: &Path, acknowledges: bool) {
        let bounds = LedgerBounds {
            max_size: 1 << 30,
            sync_interval: Duration::from_secs(1),
        };
        let ledger = Ledger::open(folder, Vec::new(), bounds).unwrap();
        eventually("everything is reported", || {
            while let Some(report) = ledger.report(1_000) {
                for counter in report.counters {
                    let subject = match counter.account_key_id.as_slice() {
                        [] => counter.account_id,
                        key => key.to_vec(),
                    };
                    let name = (counter.boot_epoch, subject, counter.route, counter.hour);
                    let value = self.0.entry(name).or_default();
                    *value = counter.accepted.max(*value);
                }
                if acknowledges {
                    ledger.acknowledged(report.sequence);
                }
            }
            // Without acknowledgements it waits with the first start.
            !acknowledges || ledger.oldest_boot_epoch() == ledger.boot_epoch()
        });
    }

    fn of(&self, subject: uuid::Uuid) -> u64 {
        let counters = self.0.iter();
        counters
            .filter(|((_, known, ..), _)| known == subject.as_bytes())
            .map(|(_, value)| value)
            .sum()
    }
}

/// Messages that began, by account.
#[derive(Default)]
struct Seen([AtomicU64; ACCOUNTS as usize]);

impl Seen {
    fn read(&self, mut stream: TcpStream) {
        let (mut buffer, mut at) = (vec![0; 64 * 1024], 0);
        loop {
            let count = stream.read(&mut buffer).unwrap();
            if count == 0 {
                return;
            }
            for byte in &buffer[..count] {
                if at % MESSAGE == 0 {
                    self.0[usize::from(*byte)].fetch_add(1, Ordering::Relaxed);
                }
                at += 1;
            }
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|seen| seen.load(Ordering::Relaxed)).sum()
    }
}

/// Counts and sends until it is killed.
#[test]
fn a_victim_that_counts() {
    let Some((folder, upstream)) = orders() else {
        return;
    };
    let bounds = LedgerBounds {
        max_size: 1 << 30,
        sync_interval: Duration::from_millis(10),
    };
    let ledger = Ledger::open(&folder, vec!["/".into()], bounds).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| count_for_ever(&ledger, upstream));
        }
    });
}

fn count_for_ever(ledger: &Arc<Ledger>, upstream: SocketAddr) {
    let book = ledger.book();
    let mut socket = TcpStream::connect(upstream).unwrap();
    socket.set_nodelay(true).unwrap();
    for call in 0u64.. {
        let account = u128::from(call) % ACCOUNTS;
        let counter = book.counter(CounterKey {
            account: AccountId::from(uuid::Uuid::from_u128(account)),
            environment: Environment::Production,
            customer: None,
            account_key: None,
            customer_key: None,
            route: 0,
            // New counters all the time, too.
            hour: i64::try_from(call / 500).unwrap(),
        });
        let message = [u8::try_from(account).unwrap(); MESSAGE];
        let taken = loop {
            match book.send(&counter, socket.as_fd(), &message, 1) {
                Ok(taken) => break taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        };
        socket.write_all(&message[taken..]).unwrap();
        counter.answered(200, 0, 0, 1);
        if call % 100 == 0 {
            book.tidy();
        }
    }
}

#[test]
fn whoever_is_killed_while_sending_has_counted_what_was_sent_and_nothing_else() {
    const KILLS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (seen, mut control_plane) = (Seen::default(), ControlPlane::default());
    for round in 0..KILLS {
        let before = seen.sum();
        let victim = victim(
            "a_victim_that_counts",
            folder.path(),
            listener.local_addr().unwrap(),
        );
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                let mut stream = None;
                eventually("it connects", || {
                    stream = listener.accept().ok();
                    stream.is_some()
                });
                let (stream, _) = stream.unwrap();
                stream.set_nonblocking(false).unwrap();
                scope.spawn(|| seen.read(stream));
            }
            eventually("it sends", || seen.sum() > before);
            // The moment of the kill.
            std::thread::sleep(moment(15_000));
            kill(victim);
        });
        // Sometimes nobody acknowledges, and it is killed once more on top of that.
        if round % 3 == 2 || round + 1 == KILLS {
            control_plane.visit(folder.path(), round % 2 == 0 || round + 1 == KILLS);
        }
    }
    for account in 0..ACCOUNTS {
        let sent = seen.0[usize::try_from(account).unwrap()].load(Ordering::Relaxed);
        assert!(sent > 0);
        assert_eq!(
            control_plane.of(uuid::Uuid::from_u128(account)),
            sent,
            "account {account}"
        );
    }
}

/// Counts where the kernel allots no file of a segment's size.
#[test]
fn a_victim_without_room() {
    let Some((folder, _)) = orders() else { return };
    let bounds = LedgerBounds {
        max_size: 1 << 30,
        sync_interval: Duration::from_millis(10),
    };
    let ledger = Ledger::open(&folder, vec!["/".into()], bounds).unwrap();
    let book = ledger.book();
    for account in 0..100 {
        let key = CounterKey {
            account: AccountId::from(uuid::Uuid::from_u128(account)),
            environment: Environment::Production,
            customer: None,
            account_key: None,
            customer_key: None,
            route: 0,
            hour: 5,
        };
        book.counter(key).rate_limited(1);
    }
    let standing = ledger.standing();
    assert_eq!(
        (standing.is_degraded, standing.in_memory, standing.bytes),
        (true, 100, 0)
    );
    let report = ledger.report(1_000).unwrap();
    assert_eq!(
        report
            .counters
            .iter()
            .map(|counter| counter.rate_limited)
            .sum::<u64>(),
        100
    );
    std::fs::write(folder.join("done"), "").unwrap();
}

#[test]
fn a_disk_that_gives_no_room_for_a_segment_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The bound of a file's size is below a segment's; the signal that would come with it is ignored.
    let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\"";
    let status = Command::new("bash")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["killed::a_victim_without_room", "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(UPSTREAM, "127.0.0.1:9")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success() && folder.path().join("done").exists(),
        "{status}"
    );
}

/// An upstream that counts the heads that it has read, by the key that the gateway names.
struct Upstream {
    address: SocketAddr,
    seen: Arc<ByKey>,
    open: Arc<AtomicU64>,
}

type ByKey = parking_lot::Mutex<HashMap<String, u64>>;

impl Upstream {
    fn start() -> Self {
        Self::speaking(|stream, seen| answer(stream, seen))
    }

    fn start_secure(config: Arc<ServerConfig>) -> Self {
        Self::speaking(move |stream, seen| {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(StreamOwned::new(session, stream), seen);
        })
    }

    fn start_http2() -> Self {
        Self::speaking(answer_http2)
    }

    fn speaking(speak: impl Fn(TcpStream, &Arc<ByKey>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let speak = Arc::new(speak);
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            open: Arc::default(),
        };
        let (seen, open) = (Arc::clone(&upstream.seen), Arc::clone(&upstream.open));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                open.fetch_add(1, Ordering::SeqCst);
                let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
                let speak = Arc::clone(&speak);
                std::thread::spawn(move || {
                    speak(stream, &seen);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        upstream
    }
}

fn answer_http2(stream: TcpStream, seen: &Arc<ByKey>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let Ok(mut connection) = h2::server::handshake(stream).await else {
            return;
        };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let key = request.headers()["keyward-key-id"].to_str().unwrap().to_owned();
            *seen.lock().entry(key).or_default() += 1;
            let _ = respond.send_response(http::Response::new(()), true);
        }
    });
}

fn answer(mut stream: impl Read + Write, seen: &ByKey) {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        head.extend_from_slice(&buffer[..count]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let key = text
            .lines()
            .find_map(|line| line.strip_prefix("keyward-key-id: "));
        *seen.lock().entry(key.unwrap().to_owned()).or_default() += 1;
        // The gateway may be gone.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    }
}

/// A whole gateway, until it is killed.
#[test]
fn a_victim_that_serves() {
    let Some((folder, upstream)) = orders() else {
        return;
    };
    let here = folder.display();
    let settings = std::env::var(SETTINGS).unwrap_or_default();
    let settings = if settings.is_empty() {
        format!("endpoints = [\"http://{upstream}\"]")
    } else {
        settings
    };
    let text = format!(
        "workers = 2\n[listen]\nproxy = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nauthz = \"127.0.0.1:0\"\n\
         [control_plane]\nurls = [\"http://127.0.0.1:9\"]\ntoken_file = \"{here}/token\"\n\
         [replica]\npath = \"{here}/replica\"\n[ledger]\npath = \"{here}/ledger\"\nsync_interval = \"10ms\"\n\
         [[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n\
         [[upstreams]]\nname = \"api\"\n{settings}"
    );
    let surroundings = keyward_config::Surroundings::default();
    let config = keyward_config::GatewayConfig::from_toml(&text, "test.toml", &surroundings).unwrap();
    let gateway = Gateway::start(config).unwrap();
    let authz = gateway.authz_address().unwrap();
    std::fs::write(folder.join("authz"), authz.to_string()).unwrap();
    std::fs::write(folder.join("address.new"), gateway.proxy_address().to_string()).unwrap();
    std::fs::rename(folder.join("address.new"), folder.join("address")).unwrap();
    std::thread::park();
}

/// A client that calls until it is told to stop, whatever becomes of its calls.
fn client(proxy: SocketAddr, key: String, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let request = get("/x", &[("x-api-key", &key)]);
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(proxy) else {
                return;
            };
            while !stop.load(Ordering::Relaxed) && stream.write_all(request.as_bytes()).is_ok() {
                if stream.peek(&mut [0]).unwrap_or(0) == 0 {
                    break;
                }
                // It may break off anywhere.
                let whole =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read_answer(&mut stream)));
                if whole.is_err() {
                    break;
                }
            }
        }
    })
}

/// Kills a gateway under load again and again; what was counted of each key, and what the upstream saw of it.
fn killed_under_load(upstream: &Upstream, settings: &str, kills: usize) -> Vec<(u64, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1_000_000,
            burst: 1_000_000,
        };
    });
    let callers = [0, 1].map(|_| keys.key(KeyKind::Account, &account, |_| {}));
    keys.write(&folder.path().join("replica"));
    std::fs::write(folder.path().join("token"), "token").unwrap();
    let mut control_plane = ControlPlane::default();
    let seen = || upstream.seen.lock().values().sum::<u64>();
    let address = folder.path().join("address");
    for round in 0..kills {
        let before = seen();
        let _ = std::fs::remove_file(&address);
        let victim = victim_with("a_victim_that_serves", folder.path(), upstream.address, settings);
        eventually("it listens", || address.exists());
        let proxy = std::fs::read_to_string(&address).unwrap().parse().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|at| client(proxy, callers[at % 2].text().to_owned(), Arc::clone(&stop)))
            .collect();
        eventually("it serves", || seen() > before + 10);
        // The moment of the kill.
        std::thread::sleep(moment(50_000));
        kill(victim);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
        eventually("the upstream has read all", || {
            upstream.open.load(Ordering::SeqCst) == 0
        });
        if round % 3 == 2 || round + 1 == kills {
            control_plane.visit(&folder.path().join("ledger"), true);
        }
    }
    let of = |key: &Key| {
        let id = key.record.id;
        let sent = upstream.seen.lock()[&id.to_string()];
        (control_plane.of(*id.as_uuid()), sent)
    };
    callers.iter().map(of).collect()
}

const CLIENTS: usize = 4;

#[test]
fn a_gateway_killed_under_load_has_counted_every_call_that_the_upstream_saw() {
    for (counted, sent) in killed_under_load(&Upstream::start(), "", 20) {
        assert_eq!(counted, sent);
    }
}

#[test]
fn over_tls_too_it_has_counted_every_call_that_the_upstream_saw() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let upstream = Upstream::start_secure(server_config(&authority.sign("localhost"), None, &[]));
    let settings = format!(
        "endpoints = [\"https://localhost:{}\"]\n[upstreams.tls]\nca_file = \"{}\"",
        upstream.address.port(),
        ca.display()
    );
    for (counted, sent) in killed_under_load(&upstream, &settings, 12) {
        assert_eq!(counted, sent);
    }
}

#[test]
fn over_http2_it_has_missed_no_call_and_added_no_more_than_were_just_handed_over() {
    const KILLS: usize = 12;
    let upstream = Upstream::start_http2();
    let settings = format!(
        "endpoints = [\"http://{}\"]\nprotocol = \"h2c\"",
        upstream.address
    );
    for (counted, sent) in killed_under_load(&upstream, &settings, KILLS) {
        let most = sent + (KILLS * CLIENTS / 2) as u64;
        assert!((sent..=most).contains(&counted), "{counted} for {sent}");
    }
}

/// Asks whether calls may pass until it is told to stop; answers how often it asked, and how often it was told so.
fn asker(authz: SocketAddr, key: String, stop: Arc<AtomicBool>, told: Arc<AtomicU64>) -> JoinHandle<u64> {
    let request = get("/auth", &[("x-forwarded-uri", "/x"), ("x-api-key", &key)]);
    let allowed = b"HTTP/1.1 200 OK\r\n";
    std::thread::spawn(move || {
        let mut asked = 0;
        let Ok(mut stream) = TcpStream::connect(authz) else {
            return asked;
        };
        while !stop.load(Ordering::Relaxed) && stream.write_all(request.as_bytes()).is_ok() {
            asked += 1;
            let mut begin = [0; 17];
            if stream.read_exact(&mut begin).is_err() {
                break;
            }
            assert_eq!(&begin, allowed);
            told.fetch_add(1, Ordering::Relaxed);
            let (mut last, mut byte) = ([0; 4], [0]);
            while last != *b"\r\n\r\n" && stream.read_exact(&mut byte).is_ok() {
                last.rotate_left(1);
                last[3] = byte[0];
            }
        }
        asked
    })
}

#[test]
fn a_gateway_killed_under_load_has_counted_every_validation_that_somebody_was_told_of() {
    const KILLS: usize = 10;
    const ASKERS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1_000_000,
            burst: 1_000_000,
        };
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    keys.write(&folder.path().join("replica"));
    std::fs::write(folder.path().join("token"), "token").unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let (told, mut control_plane) = (Arc::<AtomicU64>::default(), ControlPlane::default());
    let (mut asked, address) = (0, folder.path().join("address"));
    for round in 0..KILLS {
        let before = told.load(Ordering::Relaxed);
        let _ = std::fs::remove_file(&address);
        let victim = victim("a_victim_that_serves", folder.path(), nobody);
        eventually("it listens", || address.exists());
        let authz = std::fs::read_to_string(folder.path().join("authz")).unwrap();
        let authz = authz.parse().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let askers: Vec<_> = (0..ASKERS)
            .map(|_| asker(authz, key.text().to_owned(), Arc::clone(&stop), Arc::clone(&told)))
            .collect();
        eventually("it answers", || told.load(Ordering::Relaxed) > before + 10);
        // The moment of the kill.
        std::thread::sleep(moment(50_000));
        kill(victim);
        stop.store(true, Ordering::Relaxed);
        asked += askers.into_iter().map(|asker| asker.join().unwrap()).sum::<u64>();
        if round % 3 == 2 || round + 1 == KILLS {
            control_plane.visit(&folder.path().join("ledger"), true);
        }
    }
    let counted = control_plane.of(*key.record.id.as_uuid());
    let told = told.load(Ordering::Relaxed);
    assert!(
        told <= counted && counted <= asked,
        "{told} told, {counted} counted, {asked} asked"
    );
}
