//! The gateway as it runs in the comparison: one worker on one core, serving from a replica on disk.
//!
//! Nothing but the replica and the address of a control plane that isn't there: identity headers, rate
//! headers, metrics and the ledger are on, as always.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keyward_harness::{GatewayProcess, GatewaySetup, free_address};

use crate::replica;

/// A gateway and the keys that it lets pass.
#[derive(Debug)]
pub struct GatewayPeer {
    /// The gateway.
    pub gateway: GatewayProcess,
    /// The account keys that it knows.
    pub keys: Vec<String>,
}

impl GatewayPeer {
    /// Makes a replica of so many keys and starts a gateway on it; on `core`, before `upstream`.
    ///
    /// # Errors
    /// When its program is missing or isn't ready in time.
    pub async fn start(
        folder: &Path,
        keys: usize,
        upstream: SocketAddr,
        core: usize,
        binary: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let folder = folder.join("gateway");
        std::fs::create_dir_all(&folder)?;
        let keys = replica::prepare(&folder.join("replica"), keys)?;
        let token_file = folder.join("token");
        std::fs::write(&token_file, "nobody-asks-for-it")?;
        let mut setup = GatewaySetup::apart(
            folder,
            format!("http://{}", free_address()?),
            token_file,
            upstream,
        )
        .settings("workers = 1\n")
        .routes("[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n");
        setup.core = Some(core);
        setup.binary = binary;
        Ok(Self {
            gateway: GatewayProcess::start(&setup).await?,
            keys: keys.iter().map(|key| key.expose().to_owned()).collect(),
        })
    }
}
