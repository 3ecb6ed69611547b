//! What a running gateway is told by signals and by its configuration file, until it is asked to stop.
//!
//! `SIGHUP` reads the configuration again, and so does a change of the file or of one that it names; see [`crate::reload`]. The
//! files are looked at once a second, off the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use keyward_config::{ConfigError, GatewayConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::reload::ConfigFile;
use crate::{Gateway, RunningGateway};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The signals that a gateway acts on beside those that stop it.
#[derive(Debug)]
pub struct Signals {
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen: from now on they no longer end the process.
    ///
    /// # Errors
    /// When the system doesn't let us.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// A gateway that follows its configuration file.
#[derive(Debug)]
pub struct Following {
    gateway: RunningGateway,
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

    /// Starts a gateway of it, which follows the file from then on.
    ///
    /// # Errors
    /// Those of [`Gateway::start`].
    pub fn start(self, signals: Signals) -> anyhow::Result<Following> {
        let Self { file, config } = self;
        let gateway = Gateway::start(config)?;
        gateway.shared().reloads.began_with(file.digest());
        Ok(Following {
            gateway,
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

    /// Acts on signals and on changes of the file, for as long as it is polled.
    pub async fn attend(&mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_asked = tokio::select! {
                _ = self.signals.hang_up.recv() => true,
                _ = looks.tick() => false,
            };
            let (file, shared) = (Arc::clone(&self.file), Arc::clone(self.gateway.shared()));
            let work = move || {
                if is_asked {
                    file.reload(&shared);
                } else {
                    file.look(&shared);
                }
            };
            // Waits for the disk; a panic there is told by the runtime.
            let _ = tokio::task::spawn_blocking(work).await;
        }
    }

    /// Ends it in good order; see [`RunningGateway::drain`].
    pub async fn drain(self) {
        self.gateway.drain().await;
    }
}
