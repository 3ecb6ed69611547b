//! Keyward's data plane: checks keys and limits, forwards, counts.
//!
//! Start with [`pipeline`]: it is a call, top to bottom. [`keys`] is what decisions rest on, [`sync`] is how it
//! changes, [`limits`] what a call costs, [`upstream`] where it goes, [`ledger`] how it is counted, [`server`]
//! the threads it runs on. Nothing here knows a database or a REST surface.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use keyward_config::GatewayConfig;
use keyward_contract::DigestKey;
use keyward_tls::EdgeTls;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub mod access_log;
pub mod address;
pub mod admin;
pub mod admission;
pub mod body;
pub mod call;
pub mod clock;
pub mod connection;
pub mod credential;
pub mod deadlines;
pub mod grpc;
pub mod head;
pub mod keys;
pub mod ledger;
pub mod limits;
pub mod me;
pub mod onward;
pub mod path;
pub mod pipeline;
pub mod proxy_protocol;
pub mod random;
pub mod rejection;
pub mod route;
pub mod rules;
pub mod server;
pub mod sync;
pub mod telemetry;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;
pub mod vigil;
pub mod worker;

mod control;

use limits::shared::LimiterThread;
use server::{Quiescence, Service, listener};
use worker::{Shared, Worker};

/// The version that is compiled in.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The data plane.
#[derive(Debug)]
pub struct Gateway;

/// A gateway that runs on threads of its own.
#[derive(Debug)]
pub struct RunningGateway {
    shared: Arc<Shared>,
    proxy_address: SocketAddr,
    admin_address: SocketAddr,
    stop_workers: CancellationToken,
    stop_control: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    limiter: Option<LimiterThread>,
}

impl Gateway {
    /// Binds the listeners, opens replica and ledger, and starts the threads: one a worker, and one for
    /// everything that is no call. It serves at once; until the first key set is whole, calls that need a key
    /// are answered with 503.
    ///
    /// # Errors
    /// When an address can't be bound, or a file that is needed can't be read or written.
    pub fn start(config: GatewayConfig) -> anyhow::Result<RunningGateway> {
        let shared = Arc::new(share(config)?);
        let rules = shared.rules();
        let config = &rules.config;
        let listeners = listener::bind(config.listen.proxy, config.workers.max(1))
            .with_context(|| format!("can't listen on {} (listen.proxy)", config.listen.proxy))?;
        let admin = std::net::TcpListener::bind(config.listen.admin)
            .with_context(|| format!("can't listen on {} (listen.admin)", config.listen.admin))?;
        admin.set_nonblocking(true)?;
        let (proxy_address, admin_address) = (address_of(&listeners)?, admin.local_addr()?);

        let (stop_workers, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let log = access_log::AccessLog::start(&config.access_log).context("can't open the access log")?;
        let log = Arc::new(log);
        let limiter = shared.limiter.shared().map(Arc::clone);
        let limiter = limiter.map(LimiterThread::start).transpose()?;
        let (workers, quiescence) = start_workers(&shared, listeners, &log, &stop_workers)?;
        let link = control::link(&shared, proxy_address)?;
        let services = control::Services {
            admin,
            link,
            quiescence,
            draining: stop_workers.clone(),
            log,
        };
        let control = {
            let (shared, stop) = (Arc::clone(&shared), stop_control.clone());
            let run = move || control::run(&shared, services, &stop);
            std::thread::Builder::new()
                .name("keyward-control".into())
                .spawn(run)?
        };
        Ok(RunningGateway {
            shared,
            proxy_address,
            admin_address,
            stop_workers,
            stop_control,
            workers,
            control,
            limiter,
        })
    }
}

impl RunningGateway {
    /// Where partners call.
    #[must_use]
    pub fn proxy_address(&self) -> SocketAddr {
        self.proxy_address
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Whether it has a whole key set to decide by.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.keys.is_ready()
    }

    /// What its parts know, for tests and the status line.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Stops accepting, lets calls in flight end within `drain.timeout`, reports the last usage, and ends.
    pub async fn drain(self) {
        let end = move || {
            self.stop_workers.cancel();
            for worker in self.workers {
                let _ = worker.join();
            }
            // What was leased and not spent goes back.
            if let Some(limiter) = self.limiter {
                limiter.stop();
            }
            // Last, so that what the last calls counted is still reported.
            self.stop_control.cancel();
            let _ = self.control.join();
        };
        let _ = tokio::task::spawn_blocking(end).await;
    }
}

fn share(config: GatewayConfig) -> anyhow::Result<Shared> {
    let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>();
    let telemetry = telemetry::Telemetry::new(telemetry::TelemetryShape {
        routes: names(&mut config.routes.iter().map(|route| &route.name)),
        upstreams: names(&mut config.upstreams.iter().map(|upstream| &upstream.name)),
        decisions: rejection::DECISIONS,
        version: VERSION,
    });
    // First, because its lock tells a second gateway in the same folders apart from a broken file.
    let route_names = names(&mut config.routes.iter().map(|route| &route.name));
    let bounds = ledger::LedgerBounds {
        max_size: config.ledger_max_size,
        sync_interval: config.ledger_sync_interval,
    };
    let ledger = ledger::Ledger::open(&config.ledger_path, route_names, bounds)
        .with_context(|| format!("can't open the ledger in {}", config.ledger_path.display()))?;
    let tiers = Arc::clone(&telemetry);
    let (folder, entries) = (&config.replica_path, config.cache_entries);
    let tier_slots: keys::TierSlots = Box::new(move |tier| tiers.tier(tier));
    let keys = match &config.digest_key_file {
        Some(file) => keys::KeySet::open_with_key(folder, digest_key(file)?, entries, tier_slots),
        None => keys::KeySet::open(folder, entries, tier_slots),
    }
    .with_context(|| format!("can't open the replica in {}", folder.display()))?;
    let clock = clock::Clock::default();
    let sync = Arc::new(sync::SyncState::new(config.staleness, clock.now().monotonic));
    let shared_limits = match &config.limiter {
        keyward_config::Limiter::Local => None,
        keyward_config::Limiter::Shared(limiter) => Some(limits::shared::SharedLimits::new(
            limiter.clone(),
            &config.id,
            clock.origin(),
            Arc::clone(&sync),
            Arc::clone(&ledger),
        )),
    };
    let tls = config.listen.tls.as_ref().map(edge_tls).transpose()?;
    Ok(Shared {
        tls,
        limiter: limits::Limiter::new(Arc::clone(&sync), shared_limits),
        sync,
        clock,
        keys,
        ledger,
        telemetry,
        in_force: rules::InForce::new(rules::Rules::new(config)?),
    })
}

/// What partners are shown, made anew when its files change.
fn edge_tls(tls: &keyward_config::ListenTls) -> anyhow::Result<keyward_tls::Reloading<EdgeTls>> {
    let clients = tls.client_certificates;
    let make = move |sources: &keyward_tls::Sources| EdgeTls::make(sources, clients);
    keyward_tls::Reloading::open(EdgeTls::files(tls), make).context("can't serve TLS")
}

fn digest_key(file: &Path) -> anyhow::Result<DigestKey> {
    control::secret_of(file).map(DigestKey::from_bytes)
}

type Workers = (Vec<JoinHandle<()>>, Quiescence);

fn start_workers(
    shared: &Arc<Shared>,
    listeners: Vec<std::net::TcpListener>,
    log: &Arc<access_log::AccessLog>,
    stop: &CancellationToken,
) -> anyhow::Result<Workers> {
    let (mut threads, mut questions) = (Vec::new(), Vec::new());
    let open = Arc::new(AtomicUsize::new(0));
    for (index, listener) in listeners.into_iter().enumerate() {
        let (ask, asked) = mpsc::unbounded_channel();
        questions.push(ask);
        let service = Service {
            listener,
            questions: asked,
            open: Arc::clone(&open),
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

fn address_of(listeners: &[std::net::TcpListener]) -> anyhow::Result<SocketAddr> {
    Ok(listeners.first().context("no listener")?.local_addr()?)
}
