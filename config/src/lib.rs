//! Keyward's configuration: TOML files with the environment laid over them.
//!
//! Two stages. *What was typed*: each value is checked alone, while it is read. *What it means*: the settings
//! are checked together and become the types that the programs are built from. A file is read once, at start
//! or reload; nothing here is on a request's path.
//!
//! It fails with a [`ConfigError`], which tells everything that is wrong at once: file, line, key, what is
//! wrong and what would be right. No setting is ever ignored: one that is not known is an error, and so is one
//! whose feature this version lacks.

mod check;
pub mod control_plane;
mod document;
mod error;
pub mod gateway;
mod kind;
mod leaf;
mod load;
mod reading;
pub mod redis;
mod report;
pub mod schema;
pub mod standalone;
mod surroundings;
mod typed;
mod wording;

pub use control_plane::{
    Auth, ControlPlaneConfig, ControlPlaneListen, DatabasePassword, LeakPolicy, ManagementLimits, OidcConfig,
    Password, Rules, SecretFiles, SyncService, SyncTls, Tier, UsageRetention,
};
pub use error::{ConfigError, Place, Problem};
pub use gateway::{
    AccessLog, AllowedHeaders, Bounds, CertificateFiles, ClientCertificates, ClientTls, ControlPlaneLink,
    Cors, Credentials, Drain, EncodedSlashes, Endpoint, GatewayConfig, HeaderChanges, HeaderRules,
    HostPattern, IdentityTokens, Limiter, Listen, ListenTls, OriginPattern, PathPattern, PathSegment,
    Require, Route, Share, SharedLimiter, Staleness, Taking, Timeouts, Upstream, UpstreamProtocol, WhenStale,
};
pub use kind::{Kind, check};
pub use leaf::issuer::is_https_or_loopback;
pub use redis::{RedisConfig, Topology};
pub use standalone::StandaloneConfig;
pub use surroundings::Surroundings;
