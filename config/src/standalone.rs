//! What the configuration of everything in one process means, after every check.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::control_plane::ControlPlaneConfig;
use crate::gateway::GatewayConfig;

/// A checked standalone configuration: both programs', tied together.
#[derive(Clone, Debug)]
pub struct StandaloneConfig {
    /// The gateway's.
    pub gateway: GatewayConfig,
    /// The control plane's.
    pub control_plane: ControlPlaneConfig,
    /// `listen.upstream`: where the sample upstream answers; `None` when the file has upstreams of its own.
    pub upstream_listen: Option<SocketAddr>,
    /// `--data-dir`: the folder of everything that is kept.
    pub data_dir: PathBuf,
}
