//! A control plane with its gateways, before an upstream that answers little.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use keyward_harness::{ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, eventually};
use keyward_loadtest::{Lane, Pace, Tally};
use tempfile::TempDir;

use super::rest::{CONFIGURATION, Rest};

/// `/a` needs an account key, every other path a customer's key too.
pub const ROUTES: &str = "[[routes]]\npath = \"/a\"\nupstream = \"api\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\n";
/// So long does a change wait for its gateways that a slow one is measured to its end.
pub const TO_THE_END: Duration = Duration::from_secs(15);
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
const FOLLOWING_WITHIN: Duration = Duration::from_secs(30);

/// Running programs. They end before their folder is removed.
pub struct System {
    /// The gateways.
    pub gateways: Vec<GatewayProcess>,
    /// The control plane.
    pub control_plane: ControlPlaneProcess,
    /// Its surfaces.
    pub rest: Rest,
    /// What counts the calls that were let through.
    pub tally: Tally,
    folder: TempDir,
}

impl System {
    /// A control plane on the database at this address, by default a file, and no gateway yet. A change waits so long at
    /// most for its gateways.
    ///
    /// # Errors
    /// When something doesn't start.
    pub async fn start(database: Option<&str>, wait: Duration) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let control_plane = ControlPlaneProcess::start(&setup(folder.path(), database, wait)?).await?;
        Ok(Self {
            gateways: Vec::new(),
            rest: Rest::of(&control_plane)?,
            control_plane,
            tally: Tally::start()?,
            folder,
        })
    }

    /// How the next gateway would be started.
    #[must_use]
    pub fn next_gateway(&self) -> GatewaySetup {
        let id = format!("edge-{}", self.gateways.len() + 1);
        let folder = self.folder.path().join(&id);
        let mut setup = GatewaySetup::new(folder, &self.control_plane, self.tally.address())
            .settings("workers = 1")
            .routes(ROUTES)
            .env("KEYWARD_LOG", "warn");
        setup.id = id;
        setup
    }

    /// Starts so many gateways more, and waits until they follow.
    ///
    /// # Errors
    /// When one doesn't start.
    pub async fn add_gateways(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let setup = self.next_gateway();
            self.gateways.push(GatewayProcess::start(&setup).await?);
        }
        self.all_follow().await
    }

    /// Waits until every gateway holds the newest revision.
    ///
    /// # Errors
    /// When one doesn't in time.
    pub async fn all_follow(&self) -> anyhow::Result<()> {
        let newest = self.rest.newest_revision().await?;
        eventually(FOLLOWING_WITHIN, || async {
            let there = self.rest.gateways_at(newest).await?;
            anyhow::ensure!(there == self.gateways.len(), "only {there} gateways follow");
            Ok(())
        })
        .await
    }

    /// Every gateway called so often a second.
    #[must_use]
    pub fn lanes(&self, each: u32) -> Vec<Lane> {
        let lanes = self.gateways.iter().map(|gateway| Lane {
            target: gateway.address(),
            pace: Pace::steady(each),
            connections: CONNECTIONS,
        });
        lanes.collect()
    }
}

/// A control plane in `folder`, on the database at this address or in a file.
///
/// # Errors
/// When no port is free.
pub fn setup(folder: &Path, database: Option<&str>, wait: Duration) -> anyhow::Result<ControlPlaneSetup> {
    let setup = ControlPlaneSetup::new(folder.join("control-plane"))?
        .configured(CONFIGURATION)
        .configured(&format!("[propagation]\nwait = \"{}ms\"\n", wait.as_millis()))
        .env("KEYWARD_LOG", "warn");
    Ok(match database {
        Some(url) => setup.on_database(url),
        None => setup,
    })
}
