//! Calls in flight end within `drain.revoked` when their key, end customer or account loses its rights.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use keyward_contract::{
    AccountRecord, AccountStatus, KeyKind, KeyRecord, KeyState, Record, UnixMillis, feed,
};

use crate::fixture::{Key, Keys, World, allowed, get, read_answer};

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

/// Answers every call with events that never end, or never answers what it is sent.
struct Endless {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Endless {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let open = Arc::clone(&counted);
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _broken = serve(stream.unwrap());
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open }
    }

    fn config(&self, revoked: &str) -> String {
        let address = self.address;
        format!(
            "[[routes]]\npath = \"/both\"\nupstream = \"endless\"\n\
             [[routes]]\npath = \"/\"\nupstream = \"endless\"\nrequire = \"account\"\n\
             [[routes]]\npath = \"/delay\"\nupstream = \"api\"\nrequire = \"account\"\n\
             [[upstreams]]\nname = \"endless\"\nendpoints = [\"http://{address}\"]\n\
             [drain]\nrevoked = \"{revoked}\"\n"
        )
    }

    #[track_caller]
    fn has_open(&self, wanted: usize) {
        eventually("its connections are closed", || {
            self.open.load(Ordering::SeqCst) == wanted
        });
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if head.starts_with("POST") {
        let mut sink = [0; 4096];
        while stream.read(&mut sink)? > 0 {}
        return Ok(());
    }
    let (framing, event) = if head.starts_with("GET /sized") {
        ("content-length: 999999999", "event\n")
    } else if head.starts_with("GET /until-close") {
        ("connection: close", "event\n")
    } else {
        ("transfer-encoding: chunked", "6\r\nevent\n\r\n")
    };
    write!(stream, "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")?;
    loop {
        stream.write_all(event.as_bytes())?;
        // The pace of its events.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Puts a record in force, as the stream would.
pub(crate) fn put(world: &World, record: Record) {
    let keys = &world.gateway.as_ref().unwrap().shared().keys;
    let change = feed::Change {
        revision: keys.position().revision + 1,
        records: vec![feed::Record::from(&record)],
        ..feed::Change::default()
    };
    assert!(keys.apply(vec![change]).unwrap().is_empty());
}

pub(crate) fn put_key(world: &World, key: &Key, change: impl FnOnce(&mut KeyRecord)) {
    let mut record = key.record.clone();
    change(&mut record);
    put(world, Record::Key(record));
}

pub(crate) fn put_account(world: &World, account: &AccountRecord, change: impl FnOnce(&mut AccountRecord)) {
    let mut record = account.clone();
    change(&mut record);
    put(world, Record::Account(record));
}

/// A call whose events come in.
struct Events(TcpStream);

impl Events {
    fn open(world: &World, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::send(world, &get(target, headers))
    }

    fn send(world: &World, request: &str) -> Self {
        let mut stream = world.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self(stream);
        events.flow();
        events
    }

    /// Events come.
    #[track_caller]
    fn flow(&mut self) {
        let mut seen = Vec::new();
        while !seen.ends_with(b"event\n") {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "the stream has ended");
            seen.push(byte[0]);
        }
    }

    /// Events come until then.
    #[track_caller]
    fn flow_until(&mut self, until: Instant) {
        while Instant::now() < until {
            self.flow();
        }
    }

    /// It breaks off, in a way that nobody takes for an end; answers when.
    #[track_caller]
    fn broken(&mut self) -> Instant {
        let (mut piece, deadline) = ([0; 4096], Instant::now() + Duration::from_secs(20));
        loop {
            assert!(Instant::now() < deadline, "the stream was not cut");
            match self.0.read(&mut piece) {
                Ok(0) => panic!("the stream came to a clean end"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Instant::now(),
                Err(error) => panic!("the stream was not cut: {error}"),
            }
        }
    }
}

pub(crate) fn metric(world: &World, line: &str) -> Option<u64> {
    let text = world.gateway.as_ref().unwrap().shared().telemetry.render();
    let line = text.lines().find_map(|known| known.strip_prefix(line))?;
    line.trim().parse().ok()
}

fn in_a_moment(moment: Duration) -> UnixMillis {
    let at = SystemTime::now() + moment;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    UnixMillis(since.as_millis().try_into().unwrap())
}

#[test]
fn a_stream_of_a_revoked_key_is_cut_within_the_bound_and_another_keys_goes_on() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let [key, other] = [(); 2].map(|()| keys.key(KeyKind::Account, &account, |_| {}));
    let mut world = World::start(&keys, &upstream.config("2s"));
    let mut cut = Events::open(&world, "/events", &[("x-api-key", key.text())]);
    let mut spared = Events::open(&world, "/events", &[("x-api-key", other.text())]);
    upstream.has_open(2);

    let revoked = Instant::now();
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    let ended = cut.broken() - revoked;
    assert!(
        ended >= Duration::from_secs(1),
        "it had hardly any time: {ended:?}"
    );
    assert!(ended < Duration::from_secs(2) + SLACK, "{ended:?}");
    upstream.has_open(1);
    spared.flow_until(Instant::now() + Duration::from_millis(500));
    assert_eq!(metric(&world, "keyward_calls_cut_total{reason=\"key\"}"), Some(1));
    drop(spared);
    world.drain();
}

#[test]
fn whoever_loses_rights_in_whatever_way_loses_its_calls_in_flight() {
    type Loss = fn(&World, &Key, &Key, &AccountRecord);
    let losses: [(&str, &str, Loss); 11] = [
        ("key", "/events", |world, key, _, _| {
            put_key(world, key, |key| key.state = KeyState::Revoked);
        }),
        ("key", "/sized", |world, key, _, _| {
            put_key(world, key, |key| key.state = KeyState::Deleted);
        }),
        ("key", "/until-close", |world, key, _, _| {
            put_key(world, key, |key| key.state = KeyState::Disabled);
        }),
        // Rotated without grace is revoked; a grace that ends is an expiry.
        ("key", "/events", |world, key, _, _| {
            put_key(world, key, |key| {
                key.rotated_at = Some(in_a_moment(Duration::ZERO));
                key.expires_at = Some(in_a_moment(Duration::from_millis(300)));
            });
        }),
        ("address", "/events", |world, key, _, _| {
            put_key(world, key, |key| key.allowed_ips = allowed(&["192.0.2.0/24"]));
        }),
        ("customer", "/both", |world, _, customer, _| {
            put_key(world, customer, |key| key.state = KeyState::Revoked);
        }),
        ("customer", "/both", |world, _, customer, _| {
            put_key(world, customer, |key| {
                key.expires_at = Some(in_a_moment(Duration::from_millis(300)));
            });
        }),
        ("address", "/both", |world, _, customer, _| {
            put_key(world, customer, |key| {
                key.allowed_ips = allowed(&["192.0.2.0/24"])
            });
        }),
        ("account", "/events", |world, _, _, account| {
            put_account(world, account, |account| {
                account.status = AccountStatus::Suspended
            });
        }),
        ("account", "/events", |world, _, _, account| {
            put_account(world, account, |account| {
                account.status = AccountStatus::Cancelled
            });
        }),
        ("account", "/events", |world, _, _, account| {
            put_account(world, account, |account| {
                account.contract.end = Some(in_a_moment(Duration::from_millis(300)));
            });
        }),
    ];
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let mut callers = Vec::new();
    for _ in 0..=losses.len() {
        let account = keys.account(|_| {});
        let key = keys.key(KeyKind::Account, &account, |_| {});
        let customer = keys.key(KeyKind::Customer, &account, |_| {});
        callers.push((account, key, customer));
    }
    let mut world = World::start(&keys, &upstream.config("500ms"));
    let (_, key, customer) = callers.last().unwrap();
    let both = [("x-api-key", key.text()), ("x-customer-key", customer.text())];
    let mut bystander = Events::open(&world, "/both", &both);
    for ((reason, target, lose), (account, key, customer)) in losses.into_iter().zip(&callers) {
        let before = metric(&world, &format!("keyward_calls_cut_total{{reason=\"{reason}\"}}")).unwrap();
        let headers = [("x-api-key", key.text()), ("x-customer-key", customer.text())];
        let mut events = Events::open(&world, target, &headers);
        let lost = Instant::now();
        lose(&world, key, customer, account);
        let ended = events.broken() - lost;
        assert!(
            ended < Duration::from_secs(1) + SLACK,
            "{reason} {target}: {ended:?}"
        );
        eventually("it is counted", || {
            metric(&world, &format!("keyward_calls_cut_total{{reason=\"{reason}\"}}")) == Some(before + 1)
        });
    }
    upstream.has_open(1);
    bystander.flow();
    drop(bystander);
    world.drain();
}

#[test]
fn a_client_that_can_not_tell_a_short_answer_by_its_framing_sees_a_reset() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, &upstream.config("100ms"));
    let request = format!(
        "GET /until-close HTTP/1.0\r\nhost: a\r\nx-api-key: {}\r\n\r\n",
        key.text()
    );
    let mut events = Events::send(&world, &request);
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    events.broken();
}

#[test]
fn an_upload_that_no_answer_has_come_to_is_refused_as_its_key_now_is() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(
        &keys,
        &format!(
            "{}[access_log]\npath = \"{{folder}}/access.log\"\n",
            upstream.config("1s")
        ),
    );
    let mut upload = world.connect();
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\ncontent-length: 1000000\r\n\r\nsome",
        key.text()
    );
    upload.write_all(head.as_bytes()).unwrap();
    upstream.has_open(1);
    let lost = Instant::now();
    put_account(&world, &account, |account| {
        account.status = AccountStatus::Suspended
    });
    let answer = read_answer(&mut upload);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "ACCOUNT_SUSPENDED")
    );
    assert!(lost.elapsed() < Duration::from_secs(1) + SLACK);
    assert!(
        matches!(upload.read(&mut [0]), Ok(0) | Err(_)),
        "the connection goes on"
    );
    upstream.has_open(0);
    assert_eq!(
        metric(&world, "keyward_calls_cut_total{reason=\"account\"}"),
        Some(1)
    );
    assert_eq!(
        metric(&world, "keyward_decisions_total{decision=\"accepted\"}"),
        Some(1)
    );
    let log = world.folder().join("access.log");
    world.drain();
    let line = std::fs::read_to_string(log).unwrap();
    assert!(line.contains("\"CUT_ACCOUNT\""), "{line}");
}

#[test]
fn a_client_that_does_not_read_is_cut_off_all_the_same() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        &upstream
            .config("300ms")
            .replace("upstream = \"endless\"\nrequire", "upstream = \"api\"\nrequire"),
    );
    let mut stuck = world.connect();
    let request = get("/bytes/400000000", &[("x-api-key", key.text())]);
    stuck.write_all(request.as_bytes()).unwrap();
    let in_flight = || metric(&world, "keyward_requests_in_flight");
    eventually("the call is in flight", || in_flight() == Some(1));
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    eventually("the call has ended", || in_flight() == Some(0));
    // It is counted a moment after it has left.
    eventually("it is counted", || {
        metric(&world, "keyward_calls_cut_total{reason=\"key\"}") == Some(1)
    });
    Events(stuck).broken();
}

#[test]
fn a_key_that_gets_its_rights_back_in_time_is_spared() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, &upstream.config("2s"));
    let mut events = Events::open(&world, "/events", &[("x-api-key", key.text())]);
    let disabled = Instant::now();
    put_key(&world, &key, |key| key.state = KeyState::Disabled);
    events.flow_until(disabled + Duration::from_millis(700));
    put_key(&world, &key, |_| {});
    events.flow_until(disabled + Duration::from_secs(4));
}

#[test]
fn a_call_that_ends_in_time_by_itself_is_untouched() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, &upstream.config("10s"));
    let mut slow = world.connect();
    slow.write_all(get("/delay/700", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    eventually("the call is in flight", || world.upstream_calls() == 1);
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    assert_eq!(read_answer(&mut slow).status, 200);
    assert_eq!(metric(&world, "keyward_calls_cut_total{reason=\"key\"}"), Some(0));
}

#[test]
fn with_a_bound_of_nothing_calls_end_at_once() {
    let (mut keys, upstream) = (Keys::new(), Endless::start());
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, &upstream.config("0s"));
    let mut events = Events::open(&world, "/events", &[("x-api-key", key.text())]);
    events.flow_until(Instant::now() + Duration::from_millis(300));
    let revoked = Instant::now();
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    let ended = events.broken() - revoked;
    assert!(ended < Duration::from_secs(1), "{ended:?}");
}
