//! Keyward's data plane: checks keys and limits, forwards, counts.
//!
//! Start with [`pipeline`]: it is a call, top to bottom. [`keys`] is what decisions rest on, [`sync`] is how it
//! changes, [`authz`] who asks without being proxied, [`limits`] what a call costs, [`upstream`] where it goes, [`ledger`] how it is counted, [`server`]
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
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub mod access_log;
pub mod address;
pub mod admin;
pub mod admission;
pub mod authz;
pub mod body;
pub mod call;
pub mod clock;
pub mod connection;
pub mod cors;
pub mod credential;
pub mod deadlines;
pub mod explain;
pub mod grpc;
pub mod handover;
pub mod head;
pub mod identity;
pub mod keys;
pub mod ledger;
pub mod lifecycle;
pub mod limits;
pub mod me;
pub mod onward;
pub mod path;
pub mod pipeline;
pub mod proxy_protocol;
pub mod random;
pub mod rejection;
pub mod reload;
pub mod request_id;
pub mod route;
pub mod rules;
pub mod server;
pub mod socket;
pub mod sync;
pub mod telemetry;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;
pub mod vigil;
pub mod worker;

mod control;

use handover::elder::Sockets;
use handover::heir::{ElderLink, Inheritance};
use handover::parting::Parting;
use limits::shared::LimiterThread;
use parking_lot::Mutex;
use rules::names::{Names, Numbers};
use rules::{InForce, Rules};
use server::{Door, Quiescence, Service, listener};
use sync::{Rein, Reins};
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
    authz_address: Option<SocketAddr>,
    stop_workers: CancellationToken,
    stop_control: CancellationToken,
    stop_admin: CancellationToken,
    workers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    limiter: Mutex<Option<LimiterThread>>,
    quiescence: Quiescence,
    reins: Arc<Reins>,
    /// As they are given to another gateway; `None` from when none are accepted on any more.
    sockets: Mutex<Option<Sockets>>,
    /// The gateway that this one took over from.
    elder: Option<Arc<ElderLink>>,
    log: Arc<access_log::AccessLog>,
}

impl Gateway {
    /// Binds the listeners, opens replica and ledger, and starts the threads: one a worker, and one for
    /// everything that is no call. It serves at once; until the first key set is whole, calls that need a key
    /// are answered with 503.
    ///
    /// # Errors
    /// When an address can't be bound, or a file that is needed can't be read or written.
    pub fn start(config: GatewayConfig) -> anyhow::Result<RunningGateway> {
        Self::start_with(config, None)
    }

    /// [`Self::start`] on the sockets and folders of another gateway, which accepts no more calls when this returns.
    ///
    /// # Errors
    /// As [`Self::start`]; the other gateway then goes on.
    pub fn take_over(config: GatewayConfig, inheritance: Inheritance) -> anyhow::Result<RunningGateway> {
        Self::start_with(config, Some(inheritance))
    }

    fn start_with(config: GatewayConfig, inheritance: Option<Inheritance>) -> anyhow::Result<RunningGateway> {
        let mut inheritance = inheritance;
        let shared = Arc::new(share(config, inheritance.as_mut())?);
        let rules = shared.rules();
        let config = &rules.config;
        let sockets = listen(config, inheritance.as_mut())?;
        let (proxy_address, admin_address) = (address_of(&sockets.proxies)?, sockets.admin.local_addr()?);
        let authz_address = sockets
            .authz
            .first()
            .map(std::net::TcpListener::local_addr)
            .transpose()?;
        let elder = inheritance
            .as_ref()
            .map(|inheritance| Arc::clone(inheritance.link()));
        if let Some(inheritance) = &inheritance {
            anyhow::ensure!(
                shared.keys.is_ready() || !inheritance.was_ready(),
                "the gateway before this one has a key set, and this one finds none"
            );
            let now_ms = shared.clock.now().monotonic_ms();
            shared.keys.inherit_tokens(&inheritance.opened(), now_ms);
            shared.parting.took_over();
        }

        let (stop_workers, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let stop_admin = stop_control.child_token();
        let log = access_log::AccessLog::start(&config.access_log).context("can't open the access log")?;
        let log = Arc::new(log);
        let limiter = shared.limiter.shared().map(Arc::clone);
        let limiter = limiter.map(LimiterThread::start).transpose()?;
        let (workers, quiescence) = start_workers(&shared, &sockets, &log, &stop_workers)?;
        let quiescence = quiescence.after(elder.clone());
        let first = elder.as_ref().map_or(Rein::Follow, |_| Rein::Let);
        let reins = Arc::new(Reins::new(first));
        let link = control::link(&shared, proxy_address)?;
        let services = control::Services {
            admin: sockets.admin.try_clone()?,
            stop_admin: stop_admin.clone(),
            link,
            reins: Arc::clone(&reins),
            quiescence: quiescence.clone(),
            draining: stop_workers.clone(),
            log: Arc::clone(&log),
        };
        let control = {
            let (shared, stop) = (Arc::clone(&shared), stop_control.clone());
            let run = move || control::run(&shared, services, &stop);
            std::thread::Builder::new()
                .name("keyward-control".into())
                .spawn(run)?
        };
        if let Some(inheritance) = inheritance {
            let (reins, ledger) = (Arc::clone(&reins), Arc::clone(&shared.ledger));
            inheritance.serving(move || reins.want(Rein::Follow), move || ledger.elder_ended())?;
        }
        Ok(RunningGateway {
            shared,
            proxy_address,
            admin_address,
            authz_address,
            stop_workers,
            stop_control,
            stop_admin,
            workers,
            control,
            limiter: Mutex::new(limiter),
            quiescence,
            reins,
            sockets: Mutex::new(Some(sockets)),
            elder,
            log,
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

    /// Where it is asked about calls that others forward, if anywhere.
    #[must_use]
    pub fn authz_address(&self) -> Option<SocketAddr> {
        self.authz_address
    }

    /// Whether it has a whole key set to decide by.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.keys.is_ready()
    }

    /// Whether another gateway serves on its sockets: it is to be drained.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.shared.parting.is_handed_over()
    }

    /// Opens the access log's file anew: whoever rotates it has moved it.
    pub fn reopen_log(&self) {
        self.log.reopen();
    }

    /// What its parts know, for tests and the status line.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Stops accepting, lets calls in flight end within `drain.timeout`, reports the last usage, and ends.
    pub async fn drain(self) {
        let end = move || {
            // Else clients would go on being greeted.
            self.sockets.lock().take();
            self.stop_workers.cancel();
            for worker in self.workers {
                let _ = worker.join();
            }
            // What was leased and not spent goes back.
            if let Some(limiter) = self.limiter.lock().take() {
                limiter.stop();
            }
            // Last, so that what the last calls counted is still reported.
            self.stop_control.cancel();
            let _ = self.control.join();
        };
        let _ = tokio::task::spawn_blocking(end).await;
    }
}

/// The sockets of the gateway before this one, and those that are missing.
fn listen(config: &GatewayConfig, mut inheritance: Option<&mut Inheritance>) -> anyhow::Result<Sockets> {
    let (admin, workers) = (config.listen.admin, config.workers.max(1));
    let bind = |setting, address, inherited: Vec<std::net::TcpListener>| {
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
        None => std::net::TcpListener::bind(admin)
            .with_context(|| format!("can't listen on {admin} (listen.admin)"))?,
    };
    admin.set_nonblocking(true)?;
    Ok(Sockets {
        admin,
        proxies,
        authz,
    })
}

fn share(config: GatewayConfig, inheritance: Option<&mut Inheritance>) -> anyhow::Result<Shared> {
    let mut names = Names::default();
    let rules = Rules::new(config, &mut names, None)?;
    let config = &rules.config;
    let listed = |numbers: &Numbers| {
        numbers
            .names()
            .iter()
            .map(|name| (**name).to_owned())
            .collect::<Vec<_>>()
    };
    let telemetry = telemetry::Telemetry::new(telemetry::TelemetryShape {
        routes: listed(names.routes()),
        upstreams: listed(names.upstreams()),
        decisions: rejection::DECISIONS,
        version: VERSION,
    });
    // First, because its lock tells a second gateway in the same folders apart from a broken file.
    let route_names = listed(names.routes());
    let bounds = ledger::LedgerBounds {
        max_size: config.ledger_max_size,
        sync_interval: config.ledger_sync_interval,
    };
    let (elder, lock) = match inheritance {
        None => (None, None),
        Some(inheritance) => (
            inheritance.ledger(&config.ledger_path),
            inheritance.replica_lock(&config.replica_path),
        ),
    };
    let ledger = ledger::Ledger::open_after(&config.ledger_path, route_names, bounds, elder)
        .with_context(|| format!("can't open the ledger in {}", config.ledger_path.display()))?;
    let tiers = Arc::clone(&telemetry);
    let (folder, entries) = (&config.replica_path, config.cache_entries);
    let tier_slots: keys::TierSlots = Box::new(move |tier| tiers.tier(tier));
    let key = config.digest_key_file.as_deref().map(digest_key).transpose()?;
    let keys = match (key, lock) {
        (key, Some(lock)) => keys::KeySet::inherit(folder, key, entries, tier_slots, lock),
        (Some(key), None) => keys::KeySet::open_with_key(folder, key, entries, tier_slots),
        (None, None) => keys::KeySet::open(folder, entries, tier_slots),
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
    Ok(Shared {
        explanations: explain::Explanations::default(),
        limiter: limits::Limiter::new(Arc::clone(&sync), shared_limits),
        sync,
        keys,
        ledger,
        telemetry,
        parting: Parting::default(),
        reloads: reload::Reloads::new(names, clock.now().unix),
        clock,
        in_force: InForce::new(rules),
    })
}

fn digest_key(file: &Path) -> anyhow::Result<DigestKey> {
    control::secret_of(file).map(DigestKey::from_bytes)
}

type Workers = (Vec<JoinHandle<()>>, Quiescence);

/// A way in for each worker.
fn open_doors(listeners: &[std::net::TcpListener], workers: usize) -> std::io::Result<Vec<Door>> {
    let open = Arc::new(AtomicUsize::new(0));
    let listeners = listeners.iter().map(std::net::TcpListener::try_clone);
    let dealt = listener::deal(listeners.collect::<std::io::Result<_>>()?, workers);
    let door = |listeners| Door {
        listeners,
        open: Arc::clone(&open),
    };
    Ok(dealt.into_iter().map(door).collect())
}

fn start_workers(
    shared: &Arc<Shared>,
    sockets: &Sockets,
    log: &Arc<access_log::AccessLog>,
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

fn address_of(listeners: &[std::net::TcpListener]) -> anyhow::Result<SocketAddr> {
    Ok(listeners.first().context("no listener")?.local_addr()?)
}
