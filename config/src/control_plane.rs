//! What a control plane's configuration means, after every check.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use keyward_contract::{Fallback, LimitMode};

use crate::redis::RedisConfig;

pub use crate::leaf::url::Password;

/// A checked control-plane configuration.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// `listen`: where it answers.
    pub listen: ControlPlaneListen,
    /// `database.url`: `sqlite://PATH` or `postgres://USER@HOST/DATABASE`, never with a password in it.
    pub database_url: String,
    /// PostgreSQL's password, when it was given or a file was named that holds it.
    pub database_password: Option<DatabasePassword>,
    /// `secrets`: each file is made, mode 0600, on the first start when it is absent.
    pub secrets: SecretFiles,
    /// `sync`: who may be a gateway.
    pub sync: SyncService,
    /// `propagation.wait`: how long a change waits for the gateways' acknowledgements.
    pub propagation_wait: Duration,
    /// `auth`: whose tokens are taken.
    pub auth: Auth,
    /// `rules`.
    pub rules: Rules,
    /// `leaks.policy`.
    pub leaks: LeakPolicy,
    /// `usage`: how long it is kept in detail.
    pub usage: UsageRetention,
    /// `limiter.redis` and what belongs to it: the buckets that gateways share, to show how they stand.
    pub redis: Option<RedisConfig>,
    /// `management_limits`: how fast each credential may call the REST surfaces.
    pub management_limits: ManagementLimits,
    /// `errors.documentation_url`: the start of every error's `documentationUrl`, without a final slash.
    pub documentation_url: String,
    /// The built-in catalogue with `tiers` laid over it.
    pub tiers: Vec<Tier>,
}

/// Where PostgreSQL's password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePassword {
    /// In the address, which came from the environment.
    Given(Password),
    /// `database.password_file`: in this file, alone on its line.
    File(PathBuf),
}

/// `listen`.
#[derive(Clone, Debug)]
pub struct ControlPlaneListen {
    /// `api`: the REST surfaces and the portal.
    pub api: SocketAddr,
    /// `sync`: the gateways' stream.
    pub sync: SocketAddr,
    /// `admin`: health and metrics.
    pub admin: SocketAddr,
}

/// `secrets`: files of 32 bytes in base64.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    /// `master_key_file`: seals what must be shown again.
    pub master_key: PathBuf,
    /// `digest_key_file`: keys every digest.
    pub digest_key: PathBuf,
    /// `gateway_token_file`: what gateways show, unless each has its own credential.
    pub gateway_token: PathBuf,
}

/// `sync`: who may be a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncService {
    /// `shared_token`: whether the token of `secrets.gateway_token_file` is taken.
    pub shared_token: bool,
    /// `tls`; `None`: clear text.
    pub tls: Option<SyncTls>,
}

/// `sync.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncTls {
    /// `cert_file`: the control plane's certificate.
    pub cert_file: PathBuf,
    /// `key_file`: its private key.
    pub key_file: PathBuf,
    /// `client_ca_file`: who signs gateways' certificates; `None`: none is taken.
    pub client_ca_file: Option<PathBuf>,
    /// `client_crl_file`: what they have revoked.
    pub client_crl_file: Option<PathBuf>,
}

/// `auth`: whose tokens are taken on surfaces 3 and 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `issuer`: where this API is reached, without a final slash; absent: this machine, on the port of `listen.api`.
    pub issuer: Option<String>,
    /// `token_lifetime`: how long a token of our own lives, at most an hour.
    pub token_lifetime: Duration,
    /// `signing_key_lifetime`: how long one key signs them.
    pub signing_key_lifetime: Duration,
    /// `oidc`: another issuer, when there is one.
    pub oidc: Option<OidcConfig>,
}

/// `auth.oidc`: an OpenID Connect issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcConfig {
    /// `issuer`: as it stands in its tokens; https, or on this machine.
    pub issuer: String,
    /// `audience`: what its tokens must name.
    pub audience: String,
    /// `claims`: the claim that says what surface 4 lets a user do.
    pub claims: String,
    /// `leeway`: how far its clock may be from ours.
    pub leeway: Duration,
    /// `jwks_refresh`: after what time its keys are fetched again at the latest.
    pub jwks_refresh: Duration,
}

/// `rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `api_versions`: ISO dates, ascending.
    pub api_versions: Vec<String>,
    /// `api_version_downgrade_window`.
    pub api_version_downgrade_window: Duration,
    /// `user_key_lifetime`.
    pub user_key_lifetime: Duration,
}

/// `usage`: how long what was counted is kept in detail. Months are kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRetention {
    /// `keep_hours`: counts by hour.
    pub keep_hours: Duration,
    /// `keep_days`: counts by day; never shorter than `keep_hours`, nor than a contract year.
    pub keep_days: Duration,
}

/// `leaks.policy`: what is done to a living key that was found where it must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeakPolicy {
    /// It is disabled, until an operator looks at it.
    Quarantine,
    /// It is revoked for good.
    Revoke,
    /// Nothing; it is written down.
    Report,
}

/// `management_limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagementLimits {
    /// `portal`: surface 1; 20/s, burst 40 by default.
    pub portal: keyward_contract::Limits,
    /// `others`: surfaces 2 to 4; 50/s, burst 100 by default.
    pub others: keyward_contract::Limits,
}

/// One tier of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// `key`, such as `growth`: 1 to 64 visible ASCII characters.
    pub key: String,
    /// `name`, such as `Growth`.
    pub name: String,
    /// `annual_price` in USD.
    pub annual_price: u64,
    /// `annual_limit`: validations a contract year.
    pub annual_limit: u64,
    /// `rate_limit`: calls a second.
    pub rate_limit: u32,
    /// `burst_limit`: calls at once.
    pub burst_limit: u32,
    /// `sla`, such as `99.95%`.
    pub sla: String,
    /// `mode`: what its limits do at the gateways.
    pub mode: LimitMode,
    /// `fallback`: what holds while the shared buckets are away; `None`: what each gateway is configured to do.
    pub fallback: Option<Fallback>,
    /// Whether an account on it may carry numbers of its own; only the built-in `custom` may.
    pub negotiable: bool,
}
