//! Keyward's configuration.

pub mod control_plane;
pub mod gateway;

pub use control_plane::{ControlPlaneConfig, ControlPlaneListen, ManagementLimits, Rules, SecretFiles, Tier};
pub use gateway::{
    AccessLog, Bounds, ControlPlaneLink, Credentials, Drain, EncodedSlashes, Endpoint, GatewayConfig,
    HostPattern, Limiter, Listen, PathPattern, PathSegment, Require, Route, Staleness, Timeouts, Upstream,
    WhenStale,
};
