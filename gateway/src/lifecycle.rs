//! What a running gateway is told by signals and by its configuration file, until it is asked to stop.
//!
//! `SIGUSR2` has the program that is now at this one's path take over; see [`crate::handover`].
//! `SIGHUP` opens the access log anew and reads the configuration again, and so does a change of the file or of one that it names; see [`crate::reload`]. The
//! files are looked at once a second, off the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use keyward_config::{ConfigError, GatewayConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::handover::elder::Program;
use crate::handover::heir::Heir;
use crate::handover::supervisor;
use crate::reload::ConfigFile;
use crate::{Gateway, RunningGateway};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The signals that a gateway acts on beside those that stop it.
#[derive(Debug)]
pub struct Signals {
    hang_up: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Begins to listen: from now on they no longer end the process.
    ///
    /// # Errors
    /// When the system doesn't let us.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

/// A gateway that follows its configuration file.
#[derive(Debug)]
pub struct Following {
    gateway: Arc<RunningGateway>,
    program: Program,
    file: Arc<ConfigFile>,
    signals: Signals,
}

/// A configuration file that was read, and what it says.
#[derive(Debug)]
pub struct Configured {
    file: ConfigFile,
    config: GatewayConfig,
}

impl Configured {
    /// Reads the file.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(path: &std::path::Path) -> Result<Self, ConfigError> {
        let (file, config) = ConfigFile::open(path)?;
        Ok(Self { file, config })
    }

    /// Starts a gateway of it, which follows the file from then on. When another gateway started this process, it takes over from
    /// that one.
    ///
    /// # Errors
    /// Those of [`Gateway::start`].
    pub fn start(self, signals: Signals) -> anyhow::Result<Following> {
        let Self { file, config } = self;
        let program = Program::of_this_process().context("can't tell which program this is")?;
        let heir = Heir::of_this_process().context("can't talk to the gateway that started this one")?;
        let gateway = match heir {
            None => Gateway::start(config)?,
            Some(heir) => {
                let inheritance = heir
                    .inherit()
                    .context("the gateway that started this one gave nothing")?;
                Gateway::take_over(config, inheritance)?
            }
        };
        gateway.shared().reloads.began_with(file.digest());
        supervisor::tell();
        Ok(Following {
            gateway: Arc::new(gateway),
            program,
            file: Arc::new(file),
            signals,
        })
    }
}

impl Following {
    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &RunningGateway {
        &self.gateway
    }

    /// Acts on signals and on changes of the file, until another program has taken over: then this one is to be drained.
    pub async fn attend(&mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = self.signals.hang_up.recv() => Asked::Reload,
                _ = self.signals.upgrade.recv() => Asked::Upgrade,
                _ = looks.tick() => Asked::Look,
            };
            let (file, gateway) = (Arc::clone(&self.file), Arc::clone(&self.gateway));
            let program = self.program.clone();
            let work = move || match asked {
                Asked::Reload => {
                    gateway.reopen_log();
                    let _ = file.reload(gateway.shared());
                }
                Asked::Look => {
                    let _ = file.look(gateway.shared());
                }
                Asked::Upgrade => upgrade(&gateway, &program),
            };
            // Waits for the disk and for the other program; a panic there is told by the runtime.
            let _ = tokio::task::spawn_blocking(work).await;
            if self.gateway.is_handed_over() {
                return;
            }
        }
    }

    /// Ends it in good order; see [`RunningGateway::drain`].
    pub async fn drain(self) {
        // Work that was begun and is not waited for any more still holds it.
        let mut gateway = self.gateway;
        loop {
            match Arc::try_unwrap(gateway) {
                Ok(gateway) => return gateway.drain().await,
                Err(held) => gateway = held,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Reload,
    Look,
    Upgrade,
}

fn upgrade(gateway: &RunningGateway, program: &Program) {
    tracing::info!("another program is to take over");
    match gateway.hand_over(program) {
        Ok(()) => tracing::info!("another program has taken over; this one drains"),
        Err(error) => {
            gateway.shared().parting.failed();
            tracing::error!(%error, "no other program has taken over; this one serves on");
        }
    }
}
