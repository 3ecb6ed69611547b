//! What a call's decision costs, step by step and whole: 100 000 keys, drawn at random, so that the processor's
//! caches hold none of them.
//!
//! `cargo bench -p keyward-benches --bench decision`; the goal is at most 1 µs for `whole decision`.

#![expect(clippy::unwrap_used, reason = "a benchmark that can not be set up is not run")]

use std::cell::RefCell;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue};
use keyward_benches::replica;
use keyward_config::{Credentials, EncodedSlashes, HostPattern, PathPattern, Require};
use keyward_contract::{Environment, KeyDigest, KeyKind, KeyShape, Limits, PlainKey, UnixMillis};
use keyward_gateway::admission::{self, FindKey};
use keyward_gateway::clock::{Clock, Now};
use keyward_gateway::credential::CredentialNames;
use keyward_gateway::keys::{KeySet, Lookup, Recent};
use keyward_gateway::limits::Limiter;
use keyward_gateway::limits::bucket::Bucket;
use keyward_gateway::route::Route;
use keyward_gateway::sync::SyncState;
use keyward_gateway::telemetry::TierSlot;

const KEYS: usize = 100_000;

/// A key set with what a worker keeps before it.
struct Finder {
    keys: Arc<KeySet>,
    recent: RefCell<Recent>,
    clock: Clock,
    limiter: Limiter,
}

impl FindKey for Finder {
    fn find_key(&self, text: &[u8]) -> Lookup {
        self.keys.find(text, &mut self.recent.borrow_mut()).0
    }

    fn find_digest(&self, digest: &KeyDigest) -> Lookup {
        self.keys.find_digest(digest, &mut self.recent.borrow_mut()).0
    }

    fn now(&self) -> UnixMillis {
        self.clock.now().unix
    }
}

/// Requests that are drawn in an order that no prefetcher foresees.
struct Draw<'a, T> {
    of: &'a [T],
    state: u64,
}

impl<'a, T> Draw<'a, T> {
    fn new(of: &'a [T]) -> Self {
        Self { of, state: 1 }
    }

    fn next(&mut self) -> &'a T {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        &self.of[(self.state >> 33) as usize % self.of.len()]
    }
}

fn route() -> Route {
    let configured = keyward_config::Route {
        name: "/".into(),
        host: HostPattern::Any,
        path: PathPattern {
            segments: Vec::new(),
            exact: false,
        },
        methods: None,
        environments: Environment::ALL.to_vec(),
        upstream: 0,
        split: Vec::new(),
        require: Require::Account,
        cost: 1,
        max_body: 1,
        max_in_flight: None,
        per_address: None,
        mode: keyward_contract::LimitMode::Enforce,
        timeout: Duration::from_secs(1),
        forward_credentials: false,
        encoded_slashes: EncodedSlashes::Refuse,
        strip_prefix: None,
        identity_token: false,
        cors: None,
        headers: keyward_config::HeaderRules::default(),
    };
    Route::new(0, &configured)
}

fn limiter() -> Limiter {
    let staleness = keyward_config::Staleness {
        max: None,
        then: keyward_config::WhenStale::Serve,
    };
    Limiter::new(Arc::new(SyncState::new(staleness, Duration::ZERO)), None)
}

fn request(key: &PlainKey) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("api.example"));
    headers.insert("user-agent", HeaderValue::from_static("benchmark"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    headers.insert("x-api-key", HeaderValue::from_str(key.expose()).unwrap());
    headers
}

fn decide(finder: &Finder, names: &CredentialNames, route: &Route, headers: &HeaderMap, now: Now) -> u64 {
    let presented = names.present(headers).unwrap();
    let identified = admission::identify(finder, &presented, route.require).unwrap();
    let admitted =
        admission::authorise(identified, route, IpAddr::V4(Ipv4Addr::LOCALHOST), now.unix).unwrap();
    let permit = finder
        .limiter
        .charge(admitted, route, now)
        .now_or_never()
        .unwrap()
        .unwrap();
    permit.standing().unwrap().level.remaining()
}

fn decision(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let keys = replica::prepare(folder.path(), KEYS).unwrap();
    let requests: Vec<_> = keys.iter().map(request).collect();
    let unknown: Vec<_> = (0..KEYS)
        .map(|_| PlainKey::mint(KeyKind::Account, Environment::Production).unwrap())
        .collect();
    let open = |recent| Finder {
        keys: KeySet::open(folder.path(), 200_000, Box::new(|_| TierSlot::NONE)).unwrap(),
        recent: RefCell::new(Recent::with_capacity(recent)),
        clock: Clock::default(),
        limiter: limiter(),
    };
    let (route, names) = (
        route(),
        CredentialNames::new(&Credentials {
            account: vec!["authorization".into(), "x-api-key".into()],
            customer: vec!["x-customer-key".into()],
        }),
    );

    let finder = open(200_000);
    let find_all = |finder: &Finder| {
        assert!(
            keys.iter()
                .all(|key| matches!(finder.find_key(key.expose().as_bytes()), Lookup::Known(_)))
        );
    };
    find_all(&finder);
    let mut group = criterion.benchmark_group("decision");
    let mut draw = Draw::new(&keys);
    group.bench_function("parse and checksum", |b| {
        b.iter(|| KeyShape::parse(black_box(draw.next().expose().as_bytes())).unwrap());
    });
    group.bench_function("look-up, worker's recent keys", |b| {
        b.iter(|| finder.find_key(black_box(draw.next().expose().as_bytes())));
    });
    let mut draw = Draw::new(&requests);
    group.bench_function("whole decision", |b| {
        b.iter(|| decide(&finder, &names, &route, draw.next(), finder.clock.now()));
    });
    drop(finder);

    // A table of 64 keys: nearly every look-up goes on to the shared cache.
    let finder = open(64);
    find_all(&finder);
    let mut draw = Draw::new(&keys);
    group.bench_function("look-up, shared cache", |b| {
        b.iter(|| finder.find_key(black_box(draw.next().expose().as_bytes())));
    });
    let mut draw = Draw::new(&unknown);
    group.bench_function("look-up, unknown key", |b| {
        b.iter(|| finder.find_key(black_box(draw.next().expose().as_bytes())));
    });
    drop(finder);

    let (bucket, limits) = (
        Bucket::default(),
        Limits {
            rate: 1_000_000,
            burst: 4_000_000,
        },
    );
    let mut now = 0;
    group.bench_function("token bucket", |b| {
        b.iter(|| {
            now += 1;
            bucket.take(now, limits, 1)
        });
    });
    let clock = Clock::default();
    group.bench_function("clock", |b| b.iter(|| clock.now()));
    group.finish();
}

criterion_group!(benches, decision);
criterion_main!(benches);
