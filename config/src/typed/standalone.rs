//! The shape of `standalone.toml`: the settings of both programs, but for what standalone decides itself:
//! where files are, and how the two find each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::network::{Address, Block};
use crate::leaf::unit::{Size, Time};
use crate::typed::bounds::{Bounds, Timeouts};
use crate::typed::control_plane::{Auth, Leaks, ManagementLimits, Propagation, Rules, Tier, Usage};
use crate::typed::gateway::{AccessLog, Cache, Credentials, Drain, Errors, Identity, Limiter, Sync};
use crate::typed::identity::StandaloneTokens;
use crate::typed::route::Route;
use crate::typed::upstream::Upstream;

/// Configuration of `keyward standalone`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "standalone.toml")]
pub(crate) struct Standalone {
    /// Threads that serve calls. As many as there are processors by default.
    pub(crate) workers: Option<u64>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Block>,
    /// Where everything answers; `--listen-offset` is added to each port.
    pub(crate) listen: Listen,
    /// Who the gateway is.
    pub(crate) gateway: Identity,
    /// The usage ledger.
    pub(crate) ledger: Ledger,
    /// The hot keys in memory.
    pub(crate) cache: Cache,
    /// What holds when the control plane has not been heard for long.
    pub(crate) sync: Sync,
    /// Where the token buckets are.
    pub(crate) limiter: Limiter,
    /// Which headers carry keys.
    pub(crate) credentials: Credentials,
    /// How long each part of a call may take.
    pub(crate) timeouts: Timeouts,
    /// How much of each thing is taken.
    pub(crate) bounds: Bounds,
    /// How calls in flight end.
    pub(crate) drain: Drain,
    /// The access log.
    pub(crate) access_log: AccessLog,
    /// What errors say.
    pub(crate) errors: Errors,
    /// How the identities are signed that routes hand to their upstreams.
    pub(crate) identity: StandaloneTokens,
    /// The APIs behind the gateway. By default there is one, `sample`, that echoes what it received.
    pub(crate) upstreams: Vec<Upstream>,
    /// Which calls go where. By default all go to the only upstream and need an end customer.
    pub(crate) routes: Vec<Route>,
    /// How changes reach the gateway.
    pub(crate) propagation: Propagation,
    /// Tokens: our own, and those of another issuer.
    pub(crate) auth: Auth,
    /// Rules for keys.
    pub(crate) rules: Rules,
    /// What happens to a key that was found where it must not be.
    pub(crate) leaks: Leaks,
    /// How long usage is kept in detail.
    pub(crate) usage: Usage,
    /// How fast each credential may call the REST surfaces.
    pub(crate) management_limits: ManagementLimits,
    /// Laid over the built-in catalogue.
    pub(crate) tiers: Vec<Tier>,
}

/// Where everything answers.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// The gateway, where partners call.
    pub(crate) proxy: Address,
    /// The gateway's health and metrics.
    pub(crate) gateway_admin: Address,
    /// The control plane's REST surfaces and portal.
    pub(crate) api: Address,
    /// The gateways' streams.
    pub(crate) sync: Address,
    /// The control plane's health and metrics.
    pub(crate) control_plane_admin: Address,
    /// The sample upstream; it runs when no upstreams are configured.
    pub(crate) upstream: Address,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            proxy: Address::loopback(8080),
            gateway_admin: Address::loopback(9090),
            api: Address::loopback(8081),
            sync: Address::loopback(8082),
            control_plane_admin: Address::loopback(9091),
            upstream: Address::loopback(8089),
        }
    }
}

/// The usage ledger.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ledger {
    /// The most that a power loss may lose.
    pub(crate) sync_interval: Time,
    /// The most that its files may have.
    pub(crate) max_size: Size,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            sync_interval: Time::seconds(1),
            max_size: Size(1 << 30),
        }
    }
}
