//! The control thread: everything of the gateway that is no call. The stream to the control plane, the admin
//! listener, the wall clock, and forgetting what is idle.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use keyward_contract::Fallback;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::access_log::AccessLog;
use crate::admin::{self, AdminState, Readiness};
use crate::identity;
use crate::limits::shared::SharedLimits;
use crate::server::Quiescence;
use crate::sync::{Follower, LinkCredentials, Reins, STATES, SyncLink};
use crate::telemetry::{Sums, catalogue};
use crate::worker::Shared;

/// How long the access log may take to write what is left at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What the control thread runs.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) admin: std::net::TcpListener,
    /// Cancelled when the admin listener is another gateway's.
    pub(crate) stop_admin: CancellationToken,
    /// Whether the control plane is followed.
    pub(crate) reins: Arc<Reins>,
    pub(crate) link: SyncLink,
    pub(crate) quiescence: Quiescence,
    /// Cancelled when the workers are to drain.
    pub(crate) draining: CancellationToken,
    /// Kept here so that it outlives every worker.
    pub(crate) log: Arc<AccessLog>,
}

/// The link to the control plane, with the credentials read from their files.
pub(crate) fn link(shared: &Shared, proxy: SocketAddr) -> anyhow::Result<SyncLink> {
    let rules = shared.rules();
    let config = &rules.config;
    for url in &config.control_plane.urls {
        if is_overheard(url) {
            tracing::warn!(
                url,
                "key changes and usage go to this control plane in clear text, and with them the token: write https://"
            );
        }
    }
    Ok(SyncLink {
        urls: config.control_plane.urls.clone(),
        credentials: Arc::new(LinkCredentials::open(&config.control_plane)?),
        server_name: config.control_plane.tls.server_name.clone(),
        gateway_id: config.id.clone(),
        boot_epoch: shared.ledger.boot_epoch(),
        address: proxy.to_string(),
        staleness: config.staleness,
    })
}

/// Whether what is said to this address could be read on its way.
fn is_overheard(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_near = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    url.scheme_str() == Some("http") && !is_near
}

/// Reads a file of 32 bytes in base64.
pub(crate) fn secret_of(file: &Path) -> anyhow::Result<[u8; 32]> {
    use base64::Engine as _;

    let text = Zeroizing::new(
        std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?,
    );
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .map(Zeroizing::new);
    match bytes.map(|bytes| <[u8; 32]>::try_from(bytes.as_slice())) {
        Ok(Ok(secret)) => Ok(secret),
        _ => bail!("{} must hold 32 bytes in base64", file.display()),
    }
}

/// Runs until `stop` is cancelled; the stream then reports the last usage before this returns.
pub(crate) fn run(shared: &Arc<Shared>, services: Services, stop: &CancellationToken) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the control thread can't start");
            return;
        }
    };
    let Services {
        admin,
        stop_admin,
        reins,
        link,
        quiescence,
        draining,
        log,
    } = services;
    observe(shared, &log);
    runtime.block_on(async {
        let follower = Follower::new(
            link,
            Arc::clone(&shared.keys),
            quiescence,
            Arc::clone(&shared.ledger),
            Arc::clone(&shared.sync),
        );
        tokio::join!(
            serve_admin(shared, admin, &draining, &stop_admin),
            keep_house(shared, stop),
            follower.run_on(&reins, stop)
        );
    });
    if !log.close(LAST_LINES) {
        tracing::warn!("the access log could not be written to its end");
    }
}

/// Shows at every scrape what other modules know.
fn observe(shared: &Arc<Shared>, log: &Arc<AccessLog>) {
    let log = Arc::clone(log);
    shared.telemetry.observe(Box::new(move |sums| log.observe(sums)));
    // Weak: the telemetry is itself a part of what is shared.
    let known = Arc::downgrade(shared);
    shared.telemetry.observe(Box::new(move |sums| {
        let Some(shared) = known.upgrade() else { return };
        sums.gauge(&catalogue::CACHE_ENTRIES, [], shared.keys.cached_count() as f64);
        sums.gauge(&catalogue::LIMITER_BUCKETS, [], shared.keys.bucket_count() as f64);
        if let Some(limits) = shared.limiter.shared() {
            observe_limits(limits, sums);
        }
        let now = shared.clock.now().monotonic;
        let status = shared.sync.status(now);
        sums.gauge(
            &catalogue::SYNC_REVISION,
            [],
            shared.keys.position().revision as f64,
        );
        let lag = status.since_heard.unwrap_or(now);
        sums.gauge(&catalogue::SYNC_LAG, [], lag.as_secs_f64());
        for state in STATES {
            sums.gauge(
                &catalogue::SYNC_STATE,
                [state],
                f64::from(u8::from(state == status.state)),
            );
        }
        let dropped = status.held.map_or(0, |held| held.dropped);
        sums.gauge(&catalogue::SYNC_HELD, [], dropped as f64);
        sums.counter(&catalogue::SYNC_CHANGES, [], status.changes);
        sums.counter(&catalogue::SYNC_REFUSED, [], status.refused);
        observe_replica(&shared, sums);
        let ledger = shared.ledger.standing();
        sums.gauge(&catalogue::LEDGER_PENDING, [], ledger.pending as f64);
        sums.gauge(&catalogue::LEDGER_SEGMENTS, [], ledger.segments as f64);
        sums.gauge(&catalogue::LEDGER_BYTES, [], ledger.bytes as f64);
        sums.gauge(&catalogue::LEDGER_LIMIT, [], ledger.limit_bytes as f64);
        let degraded = u8::from(ledger.is_degraded);
        sums.gauge(&catalogue::LEDGER_DEGRADED, [], f64::from(degraded));
        sums.gauge(&catalogue::LEDGER_IN_MEMORY, [], ledger.in_memory as f64);
        sums.gauge(&catalogue::LEDGER_OLD_BOOTS, [], ledger.old_boots as f64);
        sums.counter(&catalogue::LEDGER_CORRUPT, [], ledger.corrupt_records);
        shared.reloads.observe(sums);
        shared.parting.observe(sums);
    }));
}

fn observe_replica(shared: &Shared, sums: &mut Sums) {
    let keys = &shared.keys;
    let is_set_aside = u8::from(keys.set_aside().is_some());
    sums.gauge(&catalogue::REPLICA_KEYS, [], keys.key_count() as f64);
    sums.gauge(&catalogue::REPLICA_BYTES, [], keys.bytes_on_disk() as f64);
    sums.gauge(&catalogue::REPLICA_SET_ASIDE, [], f64::from(is_set_aside));
}

fn observe_limits(limits: &SharedLimits, sums: &mut Sums) {
    let counts = limits.counts();
    let (away, lanes) = limits.away();
    sums.gauge(&catalogue::LIMITER_LEASES, [], limits.leases() as f64);
    sums.gauge(&catalogue::LIMITER_AWAY, [], away as f64 / lanes.max(1) as f64);
    let counters = [
        (&catalogue::LIMITER_OUTAGES, &counts.outages),
        (&catalogue::LIMITER_BATCHES, &counts.batches),
        (&catalogue::LIMITER_ASKS, &counts.asks),
        (&catalogue::LIMITER_FAILURES, &counts.failures),
        (&catalogue::LIMITER_WAITS, &counts.waits),
        (&catalogue::LIMITER_FALLBACKS, &counts.fallbacks),
    ];
    for (metric, count) in counters {
        sums.counter(metric, [], count.load(Ordering::Relaxed));
    }
}

async fn serve_admin(
    shared: &Arc<Shared>,
    listener: std::net::TcpListener,
    draining: &CancellationToken,
    stop: &CancellationToken,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin listener can't be used");
            return;
        }
    };
    let (for_readiness, for_state) = (Arc::clone(shared), Arc::clone(shared));
    let for_explain = Arc::clone(shared);
    let for_jwks = Arc::clone(shared);
    let draining = draining.clone();
    let state = AdminState {
        telemetry: Arc::clone(&shared.telemetry),
        readiness: Arc::new(move || Readiness {
            // Not ready: without a key set, when it would deny every key, and from the moment it drains.
            ready: for_readiness.keys.is_ready()
                && !for_readiness.sync.is_stale(for_readiness.clock.now().monotonic)
                && !draining.is_cancelled(),
            detail: detail(&for_readiness),
        }),
        state: Arc::new(move || detail(&for_state)),
        explain: Arc::new(move |id| {
            let now = for_explain.clock.now();
            for_explain.explanations.about(id, now)
        }),
        jwks: Arc::new(move || match &for_jwks.rules().signer {
            Some(signer) => Arc::clone(signer.jwks()),
            None => identity::no_keys(),
        }),
    };
    admin::serve(listener, state, stop.clone()).await;
}

fn detail(shared: &Shared) -> serde_json::Value {
    let position = shared.keys.position();
    let ledger = shared.ledger.standing();
    serde_json::json!({
        "gatewayId": shared.rules().config.id,
        "pid": std::process::id(),
        "configuration": shared.reloads.detail(),
        "keys": {
            "revision": position.revision,
            "feedEpoch": position.feed_epoch,
            "onDisk": shared.keys.key_count(),
            "bytesOnDisk": shared.keys.bytes_on_disk(),
            "setAside": shared.keys.set_aside(),
            "cached": shared.keys.cached_count(),
        },
        "sync": shared.sync.detail(shared.clock.now().monotonic),
        "limiter": limiter_detail(shared),
        "ledger": {
            "degraded": ledger.is_degraded,
            "pending": ledger.pending,
            "inMemory": ledger.in_memory,
            "bytes": ledger.bytes,
            "limitBytes": ledger.limit_bytes,
            "oldBootsPending": ledger.old_boots,
            "corruptRecords": ledger.corrupt_records,
        },
    })
}

fn limiter_detail(shared: &Shared) -> serde_json::Value {
    let Some(limits) = shared.limiter.shared() else {
        return serde_json::json!({ "mode": "local" });
    };
    let (away, lanes) = limits.away();
    serde_json::json!({
        "mode": if limits.is_leased() { "leased" } else { "exact" },
        "redis": if away == 0 { "up" } else if away < lanes { "partly away" } else { "away" },
        "fallback": word_of(limits.config().fallback),
        "liveGateways": limits.sharers(),
    })
}

fn word_of(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::Share => "share",
        Fallback::Allow => "allow",
        Fallback::Deny => "deny",
    }
}

/// Twice a second the wall clock, every ten seconds what is idle.
async fn keep_house(shared: &Shared, stop: &CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        shared.clock.follow_wall_clock();
        count += 1;
        if count.is_multiple_of(20) {
            shared.keys.forget_idle(shared.clock.now().monotonic_ms());
        }
        if count.is_multiple_of(2) {
            look_at_certificates(shared);
            look_at_files(shared);
        }
    }
}

/// Takes new certificates of the proxy listener; bad ones are told once, and the old ones stay.
fn look_at_certificates(shared: &Shared) {
    let rules = shared.rules();
    let Some(tls) = &rules.tls else { return };
    match tls.look() {
        Ok(None) => {}
        Ok(Some(_)) => tracing::info!("new certificates are shown to partners from now on"),
        Err(error) => tracing::error!(%error, "new certificates can't be used; the old ones stay in force"),
    }
}

/// Takes changed TLS files of upstreams in, on a thread that may wait for a disk.
fn look_at_files(shared: &Shared) {
    let all: Vec<_> = shared.rules().upstream_tls.iter().flatten().cloned().collect();
    if !all.is_empty() {
        tokio::task::spawn_blocking(move || all.iter().for_each(|tls| tls.look()));
    }
}
