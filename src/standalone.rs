//! `keyward standalone`: everything in one process.
//!
//! Started in the order in which one needs the other: the control plane, which makes the secrets; the sample
//! upstream; the gateway, which is ready once it has the key set. Stopped the other way round.

mod announcement;
mod example;
mod folder;
mod ports;
mod status;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use keyward_config::StandaloneConfig;
use keyward_control_plane::operations::bootstrap;
use keyward_control_plane::{ControlPlane, RunningControlPlane};
use keyward_gateway::{Gateway, RunningGateway};
use keyward_upstream::Upstream;
use tokio::runtime::Builder;

use self::announcement::{Addresses, Announcement};
use self::folder::DataFolder;
use crate::cli::StandaloneOptions;
use crate::failure::Failure;
use crate::stop::{Stop, run_to_its_end};
use crate::{logging, output};

/// A first key set on one machine takes milliseconds; a million keys some seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs everything until it is asked to stop.
pub(crate) fn run(options: &StandaloneOptions) -> Result<(), Failure> {
    let config = StandaloneConfig::load(
        options.config.as_deref(),
        &options.data_dir,
        options.listen_offset,
    )?;
    logging::begin()?;
    // Held until the end: two processes on one folder would undo each other's work.
    let _folder = DataFolder::open(&config.data_dir)?;
    ports::check(&config, options.listen_offset)?;
    run_to_its_end(Builder::new_multi_thread(), serve(config, options))?;
    Ok(())
}

async fn serve(config: StandaloneConfig, options: &StandaloneOptions) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let starting = Running::start(config.clone());
    let mut running = tokio::select! {
        running = starting => running?,
        () = stop.asked() => return Ok(()),
    };
    let ready = tokio::select! {
        ready = running.wait_until_ready() => ready,
        () = stop.asked() => return stop.end(running.end()).await,
    };
    if let Err(error) = ready {
        stop.end(running.end()).await?;
        return Err(error);
    }
    announce(&mut running, &config, options);
    if std::io::stdout().is_terminal() && !options.json {
        let admin = running.gateway.admin_address();
        tokio::select! {
            () = status::show(admin) => {}
            () = stop.asked() => {}
        }
        output::show("\r\x1b[K");
    } else {
        stop.asked().await;
    }
    tracing::info!("stopping: calls in flight may end; ask again to stop at once");
    stop.end(running.end()).await
}

fn announce(running: &mut Running, config: &StandaloneConfig, options: &StandaloneOptions) {
    let announcement = Announcement {
        addresses: running.addresses(),
        config,
        // Shown once, and not held any longer.
        credentials: running.credentials.take(),
    };
    if options.json {
        output::say(announcement.json());
    } else {
        output::show(&announcement.text());
    }
}

/// Everything that runs.
struct Running {
    control_plane: RunningControlPlane,
    upstream: Option<keyward_upstream::Running>,
    gateway: RunningGateway,
    credentials: Option<bootstrap::Credentials>,
}

impl Running {
    async fn start(config: StandaloneConfig) -> anyhow::Result<Self> {
        let StandaloneConfig {
            mut gateway,
            control_plane,
            upstream_listen,
            ..
        } = config;
        let control_plane = ControlPlane::start(control_plane)
            .await
            .context("the control plane did not start")?;
        let credentials = control_plane
            .bootstrap()
            .await
            .context("the demo account could not be made")?;
        let upstream = match upstream_listen {
            Some(address) => Some(
                Upstream::start(address)
                    .await
                    .context("the sample upstream did not start")?,
            ),
            None => None,
        };
        // Where a port was 0, its number is known only now.
        let sync = ports::reachable(control_plane.sync);
        gateway.control_plane.urls = vec![format!("http://{sync}")];
        if let Some(upstream) = &upstream {
            let address = ports::reachable(upstream.address());
            for endpoint in gateway
                .upstreams
                .iter_mut()
                .flat_map(|sample| &mut sample.endpoints)
            {
                endpoint.port = address.port();
            }
        }
        let gateway = Gateway::start(gateway).context("the gateway did not start")?;
        Ok(Self {
            control_plane,
            upstream,
            gateway,
            credentials,
        })
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let ready = async {
            while !self.gateway.ready() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(READY_WITHIN, ready)
            .await
            .with_context(|| format!("the gateway had no key set within {READY_WITHIN:?}"))
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            gateway: self.gateway.proxy_address(),
            gateway_admin: self.gateway.admin_address(),
            control_plane: self.control_plane.api,
            sync: self.control_plane.sync,
            control_plane_admin: self.control_plane.admin,
            upstream: self.upstream.as_ref().map(keyward_upstream::Running::address),
        }
    }

    /// The gateway first: calls in flight still need the upstream, and the last usage the control plane.
    async fn end(self) {
        self.gateway.drain().await;
        if let Some(upstream) = self.upstream {
            upstream.shutdown().await;
        }
        self.control_plane.shutdown().await;
    }
}
