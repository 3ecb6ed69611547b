//! The promise that the steady path of these modules allocates nothing. A program of its own, because it counts
//! with an allocator of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::FutureExt;
use http::Method;
use keyward_config::{
    AccessLog, Credentials, EncodedSlashes, GatewayConfig, HostPattern, PathPattern, PathSegment, Require,
    Staleness, WhenStale,
};
use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, CustomerId, DigestKey, Environment, EnvironmentId,
    KeyDigest, KeyId, KeyKind, KeyRecord, KeyState, Limits, PlainKey, Record, UnixMillis, feed,
};
use keyward_gateway::access_log::{self, Verdict};
use keyward_gateway::address::{TrustedProxies, client_address};
use keyward_gateway::admission::{self, FindKey};
use keyward_gateway::clock::Clock;
use keyward_gateway::credential::CredentialNames;
use keyward_gateway::keys::{KeySet, Lookup, Position, Recent};
use keyward_gateway::ledger::{CounterKey, Ledger, LedgerBounds};
use keyward_gateway::limits;
use keyward_gateway::path::normalise;
use keyward_gateway::route::{Match, Route, RouteTable};
use keyward_gateway::sync::SyncState;
use keyward_gateway::telemetry::{CacheLevel, Decision, Finished, Telemetry, TelemetryShape, TierSlot};

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator can be written in no other way; it hands everything to the system's"
)]
// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from the system's allocator, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[track_caller]
fn assert_no_allocation(what: &str, work: impl Fn()) {
    // Rows that come into being once are not the steady path.
    work();
    let before = ALLOCATIONS.get();
    work();
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations while {what}");
}

fn route(host: HostPattern, segments: &[&str], methods: Option<Vec<Method>>) -> keyward_config::Route {
    let segments = segments.iter().map(|segment| match segment.strip_prefix(':') {
        Some(name) => PathSegment::Parameter(name.to_owned()),
        None => PathSegment::Literal((*segment).to_owned()),
    });
    keyward_config::Route {
        name: "route".to_owned(),
        host,
        path: PathPattern {
            segments: segments.collect(),
            exact: false,
        },
        methods,
        environments: Environment::ALL.to_vec(),
        upstream: 0,
        split: Vec::new(),
        require: Require::Account,
        cost: 1,
        max_in_flight: None,
        per_address: None,
        mode: keyward_contract::LimitMode::Enforce,
        max_body: 1024,
        timeout: Duration::from_secs(1),
        forward_credentials: false,
        encoded_slashes: EncodedSlashes::Refuse,
        strip_prefix: Some("/v1".to_owned()),
        identity_token: false,
        cors: None,
        headers: keyward_config::HeaderRules::default(),
    }
}

#[expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]
fn config(routes: Vec<keyward_config::Route>) -> GatewayConfig {
    let least =
        "[[upstreams]]\nname = \"api\"\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/\"\n";
    let surroundings = keyward_config::Surroundings::default();
    let mut config = GatewayConfig::from_toml(least, "test.toml", &surroundings).unwrap();
    config.routes = routes;
    config
}

#[test]
fn a_route_is_found_without_allocating() {
    let table = RouteTable::compile(&config(vec![
        route(HostPattern::Any, &["v1", ":id", "keys"], Some(vec![Method::GET])),
        route(HostPattern::Exact("api.example.com".to_owned()), &["v1"], None),
        route(
            HostPattern::Suffix(".example.com".to_owned()),
            &["v2"],
            Some(vec![Method::POST]),
        ),
    ]));
    for (host, path, method) in [
        ("API.example.com:8080", "/v1/orders/7?x", Method::GET),
        ("h", "/v1/7/keys", Method::HEAD),
        ("x.example.com", "/v2/x", Method::DELETE),
        ("h", "/nowhere", Method::GET),
    ] {
        let path = path.split('?').next().unwrap();
        assert_no_allocation(path, || {
            let path = normalise(path).unwrap();
            if let Match::Found(route) = table.find(host, &path, &method) {
                assert_ne!(route.forwarded_path(&path), "");
            }
        });
    }
}

#[test]
fn a_client_address_is_found_without_allocating() {
    let trusted = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap()]);
    let forwarded = [b"192.0.2.1, 10.0.0.2".as_slice(), b"10.0.0.3:80".as_slice()];
    assert_no_allocation("walking the header", || {
        let client = client_address("10.0.0.1".parse().unwrap(), forwarded.into_iter(), &trusted);
        assert_eq!(client, IpAddr::from([192, 0, 2, 1]));
    });
}

#[test]
fn a_call_is_counted_without_allocating() {
    let telemetry = Telemetry::new(TelemetryShape {
        routes: vec!["/v1".to_owned()],
        upstreams: vec!["api".to_owned()],
        decisions: &["accepted"],
        version: "1",
    });
    let (worker, tier) = (telemetry.worker(), telemetry.tier("growth"));
    assert_no_allocation("counting", || {
        let _connection = worker.connection();
        let _in_flight = worker.in_flight();
        worker.cache_hit(CacheLevel::Memory);
        worker.upstream_connected(0);
        worker.finished(&Finished {
            route: Some(0),
            tier,
            status: 200,
            decision: Decision::ACCEPTED,
            duration: Duration::from_millis(1),
            overhead: Duration::from_micros(10),
            upstream: Some(0),
            upstream_time: Duration::from_micros(990),
            bytes_in: 1,
            bytes_out: 2,
        });
    });
}

#[test]
fn usage_is_counted_and_a_call_sent_without_allocating() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = LedgerBounds {
        max_size: 64 << 20,
        sync_interval: Duration::from_secs(1),
    };
    let ledger = Ledger::open(folder.path(), vec!["/v1".to_owned()], bounds).unwrap();
    let (book, (socket, _upstream)) = (ledger.book(), UnixStream::pair().unwrap());
    let key = CounterKey {
        account: AccountId::new(),
        environment: Environment::Production,
        customer: None,
        account_key: Some(KeyId::new()),
        customer_key: None,
        route: 0,
        hour: 5,
    };
    assert_no_allocation("counting", || {
        let counter = book.counter(key);
        assert_eq!(book.send(&counter, socket.as_fd(), b"GET", 1).unwrap(), 3);
        counter.bucket(1, 1);
        counter.answered(200, 1, 2, 3);
        counter.rate_limited(1);
        book.tidy();
    });
    // Also when it has to go onto the list of what is to be reported.
    ledger.report(10).unwrap();
    assert_no_allocation("counting after a report", || book.counter(key).quota_refused(1));
}

#[test]
fn whether_a_call_is_logged_is_decided_without_allocating() {
    let folder = tempfile::tempdir().unwrap();
    let path = Some(folder.path().join("access.log"));
    let config = AccessLog {
        path,
        sample: 0.5,
        refusals: true,
    };
    let log = access_log::AccessLog::start(&config).unwrap();
    let (worker, sampling) = (log.worker(), access_log::Sampling::of(&config));
    assert_no_allocation("deciding", || {
        let _ = worker.wants(sampling, Verdict::Accepted);
        let _ = worker.wants(sampling, Verdict::Refused);
    });
}

/// A prepared key set and the worker's memory before it.
struct Finder {
    keys: std::sync::Arc<KeySet>,
    recent: std::cell::RefCell<Recent>,
}

impl FindKey for Finder {
    fn find_key(&self, text: &[u8]) -> Lookup {
        self.keys.find(text, &mut self.recent.borrow_mut()).0
    }

    fn find_digest(&self, digest: &KeyDigest) -> Lookup {
        self.keys.find_digest(digest, &mut self.recent.borrow_mut()).0
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(0)
    }
}

#[test]
fn a_call_is_decided_without_allocating() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeySet::open(folder.path(), 100, Box::new(|_| TierSlot::NONE)).unwrap();
    let digest_key = DigestKey::random().unwrap();
    keys.adopt_digest_key(digest_key.clone()).unwrap();
    let account = AccountRecord {
        id: AccountId::new(),
        status: AccountStatus::Active,
        tier: "growth".into(),
        limits: Limits {
            rate: 100,
            burst: 200,
        },
        annual_limit: 1_000,
        contract: Contract::default(),
        test_environment: EnvironmentId::random().unwrap(),
        production_environment: EnvironmentId::random().unwrap(),
        limit_mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    };
    let customer = "clx8f2k9h0001qr5tgvwxyz12".parse::<CustomerId>().unwrap();
    let key = |kind, customer| {
        let plain = PlainKey::mint(kind, Environment::Production).unwrap();
        let record = KeyRecord {
            digest: digest_key.digest(plain.expose().as_bytes()),
            id: KeyId::new(),
            account: account.id,
            environment: Environment::Production,
            customer,
            state: KeyState::Active,
            expires_at: None,
            allowed_ips: None,
            api_version: String::new(),
            rotated_at: None,
            customer_limits: None,
        };
        (plain, Record::Key(record))
    };
    let (account_key, first) = key(KeyKind::Account, None);
    let (customer_key, second) = key(KeyKind::Customer, Some(customer));
    let mut writer = keys.begin_snapshot(Position::new("epoch", 1)).unwrap();
    let records = [first, second, Record::Account(account)];
    assert!(
        writer
            .add(records.iter().map(feed::Record::from).collect())
            .unwrap()
            .is_empty()
    );
    writer.finish().unwrap();

    let finder = Finder {
        keys,
        recent: std::cell::RefCell::new(Recent::with_capacity(64)),
    };
    let names = CredentialNames::new(&Credentials {
        account: vec!["authorization".into(), "x-api-key".into()],
        customer: vec!["x-customer-key".into()],
    });
    let mut headers = http::HeaderMap::new();
    headers.insert(
        "authorization",
        format!("Bearer {}", account_key.expose()).parse().unwrap(),
    );
    headers.insert("x-customer-key", customer_key.expose().parse().unwrap());
    let route = Route::new(0, &route(HostPattern::Any, &[], None));
    let clock = Clock::default();
    let staleness = Staleness {
        max: None,
        then: WhenStale::Serve,
    };
    let sync = SyncState::new(staleness, clock.now().monotonic);
    let limiter = limits::Limiter::new(std::sync::Arc::new(sync), None);
    assert_no_allocation("deciding", || {
        let now = clock.now();
        let presented = names.present(&headers).unwrap();
        let identified = admission::identify(&finder, &presented, Require::Customer).unwrap();
        let admitted =
            admission::authorise(identified, &route, IpAddr::from([127, 0, 0, 1]), now.unix).unwrap();
        let permit = limiter
            .charge(admitted, &route, now)
            .now_or_never()
            .unwrap()
            .unwrap();
        assert!(permit.standing().unwrap().level.remaining() < 200);
    });
}
