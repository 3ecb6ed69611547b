//! What a start takes: sockets, what all threads share, and the workers.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use keyward_config::GatewayConfig;
use keyward_contract::DigestKey;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLog;
use crate::clock::Clock;
use crate::explain::Explanations;
use crate::handover::elder::Sockets;
use crate::handover::heir::Inheritance;
use crate::handover::parting::Parting;
use crate::keys::{KeySet, TierSlots};
use crate::ledger::{Elder, Ledger, LedgerBounds};
use crate::limits::Limiter;
use crate::limits::shared::SharedLimits;
use crate::rejection;
use crate::reload::Reloads;
use crate::rules::names::{Names, Numbers};
use crate::rules::{InForce, Rules};
use crate::server::{self, Door, Quiescence, Service, listener};
use crate::sync::SyncState;
use crate::telemetry::{Telemetry, TelemetryShape};
use crate::worker::{Shared, Worker};
use crate::{VERSION, control};

/// The sockets of the gateway before this one, and those that are missing.
///
/// # Errors
/// When an address can't be bound.
pub(crate) fn listen(
    config: &GatewayConfig,
    mut inheritance: Option<&mut Inheritance>,
) -> anyhow::Result<Sockets> {
    let (admin, workers) = (config.listen.admin, config.workers.max(1));
    let bind = |setting, address, inherited: Vec<TcpListener>| {
        let listeners = match inherited.first() {
            None => listener::bind(address, workers),
            Some(first) => first
                .local_addr()
                .and_then(|address| listener::bind_beside(address, workers.saturating_sub(inherited.len()))),
        };
        let more = listeners.with_context(|| format!("can't listen on {address} ({setting})"))?;
        anyhow::Ok(inherited.into_iter().chain(more).collect::<Vec<_>>())
    };
    let (mut proxies, mut authz, mut inherited) = (Vec::new(), Vec::new(), None);
    if let Some(inheritance) = &mut inheritance {
        proxies = inheritance.proxies(config.listen.proxy);
        inherited = inheritance.admin(admin);
    }
    if let (Some(inheritance), Some(address)) = (inheritance, config.listen.authz) {
        authz = inheritance.authz(address);
    }
    let proxies = bind("listen.proxy", config.listen.proxy, proxies)?;
    let authz = match config.listen.authz {
        Some(address) => bind("listen.authz", address, authz)?,
        None => Vec::new(),
    };
    let admin = match inherited {
        Some(listener) => listener,
        None => {
            TcpListener::bind(admin).with_context(|| format!("can't listen on {admin} (listen.admin)"))?
        }
    };
    admin.set_nonblocking(true)?;
    Ok(Sockets {
        admin,
        proxies,
        authz,
    })
}

/// What all threads of a gateway share.
///
/// # Errors
/// When the rules don't hold together, or a file that is needed can't be read or written.
pub(crate) fn share(config: GatewayConfig, inheritance: Option<&mut Inheritance>) -> anyhow::Result<Shared> {
    let mut names = Names::default();
    let rules = Rules::new(config, &mut names, None)?;
    let config = &rules.config;
    let telemetry = Telemetry::new(TelemetryShape {
        routes: listed(names.routes()),
        upstreams: listed(names.upstreams()),
        decisions: rejection::DECISIONS,
        version: VERSION,
    });
    let (elder, lock) = match inheritance {
        None => (None, None),
        Some(inheritance) => (
            inheritance.ledger(&config.ledger_path),
            inheritance.replica_lock(&config.replica_path),
        ),
    };
    // First, because its lock tells a second gateway in the same folders apart from a broken file.
    let ledger = open_ledger(config, listed(names.routes()), elder)?;
    let keys = open_keys(config, &telemetry, lock)?;
    let clock = Clock::default();
    let sync = Arc::new(SyncState::new(config.staleness, clock.now().monotonic));
    let shared_limits = match &config.limiter {
        keyward_config::Limiter::Local => None,
        keyward_config::Limiter::Shared(limiter) => Some(SharedLimits::new(
            limiter.clone(),
            &config.id,
            clock.origin(),
            Arc::clone(&sync),
            Arc::clone(&ledger),
        )),
    };
    Ok(Shared {
        explanations: Explanations::default(),
        limiter: Limiter::new(Arc::clone(&sync), shared_limits),
        sync,
        keys,
        ledger,
        telemetry,
        parting: Parting::default(),
        reloads: Reloads::new(names, clock.now().unix),
        clock,
        in_force: InForce::new(rules),
    })
}

fn listed(numbers: &Numbers) -> Vec<String> {
    numbers.names().iter().map(|name| (**name).to_owned()).collect()
}

fn open_ledger(
    config: &GatewayConfig,
    route_names: Vec<String>,
    elder: Option<Elder>,
) -> anyhow::Result<Arc<Ledger>> {
    let bounds = LedgerBounds {
        max_size: config.ledger_max_size,
        sync_interval: config.ledger_sync_interval,
    };
    Ledger::open_after(&config.ledger_path, route_names, bounds, elder)
        .with_context(|| format!("can't open the ledger in {}", config.ledger_path.display()))
}

/// The key set in the replica; its lock is held already where another gateway held it.
fn open_keys(
    config: &GatewayConfig,
    telemetry: &Arc<Telemetry>,
    lock: Option<File>,
) -> anyhow::Result<Arc<KeySet>> {
    let tiers = Arc::clone(telemetry);
    let (folder, entries) = (&config.replica_path, config.cache_entries);
    let tier_slots: TierSlots = Box::new(move |tier| tiers.tier(tier));
    let key = config.digest_key_file.as_deref().map(digest_key).transpose()?;
    match (key, lock) {
        (key, Some(lock)) => KeySet::inherit(folder, key, entries, tier_slots, lock),
        (Some(key), None) => KeySet::open_with_key(folder, key, entries, tier_slots),
        (None, None) => KeySet::open(folder, entries, tier_slots),
    }
    .with_context(|| format!("can't open the replica in {}", folder.display()))
}

fn digest_key(file: &Path) -> anyhow::Result<DigestKey> {
    control::secret_of(file).map(DigestKey::from_bytes)
}

/// Their threads, and how to ask all of them whether what was decided is out.
pub(crate) type Workers = (Vec<JoinHandle<()>>, Quiescence);

/// A way in for each worker.
fn open_doors(listeners: &[TcpListener], workers: usize) -> std::io::Result<Vec<Door>> {
    let open = Arc::new(AtomicUsize::new(0));
    let listeners = listeners.iter().map(TcpListener::try_clone);
    let dealt = listener::deal(listeners.collect::<std::io::Result<_>>()?, workers);
    let door = |listeners| Door {
        listeners,
        open: Arc::clone(&open),
    };
    Ok(dealt.into_iter().map(door).collect())
}

/// A thread for each worker, serving.
///
/// # Errors
/// When a thread can't be started.
pub(crate) fn start_workers(
    shared: &Arc<Shared>,
    sockets: &Sockets,
    log: &Arc<AccessLog>,
    stop: &CancellationToken,
) -> anyhow::Result<Workers> {
    let (mut threads, mut questions) = (Vec::new(), Vec::new());
    let workers = shared.rules().config.workers;
    let doors = [&sockets.proxies, &sockets.authz].map(|listeners| open_doors(listeners, workers));
    let [calls, validations] = doors;
    for (index, (calls, validations)) in calls?.into_iter().zip(validations?).enumerate() {
        let (ask, asked) = mpsc::unbounded_channel();
        questions.push(ask);
        let service = Service {
            calls,
            validations,
            questions: asked,
            stop: stop.clone(),
        };
        let (shared, log) = (Arc::clone(shared), Arc::clone(log));
        let run = move || {
            let serve = async move { server::run(Rc::new(Worker::new(shared, &log)), service).await };
            if let Err(error) = on_this_thread(serve) {
                tracing::error!(%error, "a worker ended");
            }
        };
        threads.push(
            std::thread::Builder::new()
                .name(format!("keyward-{index}"))
                .spawn(run)?,
        );
    }
    Ok((threads, Quiescence::new(questions)))
}

/// Runs a future on a single-threaded runtime made for it; what it spawns stays on this thread.
fn on_this_thread<F: Future<Output = std::io::Result<()>>>(work: F) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let outcome = runtime.block_on(work);
    // Connections that were cut off by the end of the drain are dropped here.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// The thread for everything that is no call.
///
/// # Errors
/// When it can't be started.
pub(crate) fn start_control(
    shared: &Arc<Shared>,
    services: control::Services,
    stop: &CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let (shared, stop) = (Arc::clone(shared), stop.clone());
    std::thread::Builder::new()
        .name("keyward-control".into())
        .spawn(move || control::run(&shared, services, &stop))
}
