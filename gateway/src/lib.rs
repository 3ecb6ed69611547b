//! Keyward's data plane: checks keys and limits, forwards, counts.
//!
//! Start with [`pipeline`]: it is a call, top to bottom. [`keys`] is what decisions rest on, [`sync`] is how it
//! changes, [`authz`] who asks without being proxied, [`limits`] what a call costs, [`upstream`] where it goes, [`ledger`] how it is counted, [`server`]
//! the threads it runs on. Nothing here knows a database or a REST surface.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use keyward_config::GatewayConfig;
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
mod start;

use handover::elder::Sockets;
use handover::heir::{ElderLink, Inheritance};
use limits::shared::LimiterThread;
use parking_lot::Mutex;
use server::Quiescence;
use sync::{Rein, Reins};
use worker::Shared;

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
        let shared = Arc::new(start::share(config, inheritance.as_mut())?);
        let rules = shared.rules();
        let config = &rules.config;
        let sockets = start::listen(config, inheritance.as_mut())?;
        let (proxy_address, admin_address) = (address_of(&sockets.proxies)?, sockets.admin.local_addr()?);
        let authz_address = sockets.authz.first().map(TcpListener::local_addr).transpose()?;
        let elder = inheritance
            .as_ref()
            .map(|inheritance| Arc::clone(inheritance.link()));
        if let Some(inheritance) = &inheritance {
            continue_from(inheritance, &shared)?;
        }

        let (stop_workers, stop_control) = (CancellationToken::new(), CancellationToken::new());
        let stop_admin = stop_control.child_token();
        let log = access_log::AccessLog::start(&config.access_log).context("can't open the access log")?;
        let log = Arc::new(log);
        let limiter = shared.limiter.shared().map(Arc::clone);
        let limiter = limiter.map(LimiterThread::start).transpose()?;
        let (workers, quiescence) = start::start_workers(&shared, &sockets, &log, &stop_workers)?;
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
        let control = start::start_control(&shared, services, &stop_control)?;
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

/// Takes over what the gateway before this one knew and this one can't read from files.
fn continue_from(inheritance: &Inheritance, shared: &Shared) -> anyhow::Result<()> {
    anyhow::ensure!(
        shared.keys.is_ready() || !inheritance.was_ready(),
        "the gateway before this one has a key set, and this one finds none"
    );
    let now_ms = shared.clock.now().monotonic_ms();
    shared.keys.inherit_tokens(&inheritance.opened(), now_ms);
    shared.parting.took_over();
    Ok(())
}

fn address_of(listeners: &[TcpListener]) -> anyhow::Result<SocketAddr> {
    Ok(listeners.first().context("no listener")?.local_addr()?)
}
