//! The gateway as it runs in the comparison: one worker on one core, fed by a control plane with the keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keyward_harness::{
    ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, SeedPlan, SeededAccount,
};

/// A tier whose limits nobody reaches: looked up and counted for every call, and never refusing one.
const UNREACHED_TIER: &str = "[[tiers]]\nkey = \"loadtest\"\nname = \"Load test\"\nannual_price = 0\n\
    annual_limit = 1000000000000\nrate_limit = \"1000000/s\"\nburst_limit = 1000000\nsla = \"99.9%\"\n";

/// A gateway and the control plane that feeds it.
#[derive(Debug)]
pub struct GatewayPeer {
    /// The gateway.
    pub gateway: GatewayProcess,
    // Keeps feeding it until it is dropped.
    _control_plane: ControlPlaneProcess,
}

/// A control plane with accounts in its database, not yet started.
pub struct Seeded {
    setup: ControlPlaneSetup,
    /// One account for each key, so that each key has a bucket of its own, as with nginx.
    pub accounts: Vec<SeededAccount>,
}

/// Makes so many accounts with a key each.
///
/// # Errors
/// When the control plane's program is missing or fails.
pub fn seed(folder: &Path, keys: usize) -> anyhow::Result<Seeded> {
    let setup = ControlPlaneSetup::new(folder.join("control-plane"))?.configured(UNREACHED_TIER);
    let plan = SeedPlan {
        accounts: keys,
        customers_per_account: 0,
        tier: "loadtest".to_owned(),
    };
    let accounts = setup.seed(&plan)?;
    Ok(Seeded { setup, accounts })
}

impl GatewayPeer {
    /// Starts both; the gateway on `core`, before `upstream`.
    ///
    /// # Errors
    /// When one isn't ready in time.
    pub async fn start(
        folder: &Path,
        seeded: &Seeded,
        upstream: SocketAddr,
        core: usize,
        binary: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let control_plane = ControlPlaneProcess::start(&seeded.setup).await?;
        let mut setup = GatewaySetup::new(folder.join("gateway"), &control_plane, upstream)
            .settings("workers = 1\n")
            .routes("[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n");
        setup.core = Some(core);
        setup.binary = binary;
        Ok(Self {
            gateway: GatewayProcess::start(&setup).await?,
            _control_plane: control_plane,
        })
    }
}
