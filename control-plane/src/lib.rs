//! Keyward's control plane: accounts, keys, tiers and usage over REST; the sync service for gateways.
//!
//! `surfaces` translate, `operations` decide and change, `store` holds all SQL, `domain` the words and rules.
//! [`ControlPlane::start`] puts them together and serves.

use std::ops::Deref;
use std::sync::Arc;

pub mod clock;
pub mod domain;
pub mod health;
pub mod jobs;
pub mod live;
pub mod moving;
pub mod oidc;
pub mod operations;
pub mod router;
pub mod secrets;
pub mod server;
pub mod start;
pub mod store;
pub mod surfaces;
pub mod sync;
pub mod telemetry;

pub use start::{ControlPlane, RunningControlPlane};

use operations::Registry;
use surfaces::limits::CallLimits;
use telemetry::Telemetry;

/// What every call shares. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

/// What is behind an [`App`].
#[derive(Debug)]
pub struct Shared {
    /// What operations work with.
    pub registry: Arc<Registry>,
    /// How fast each account key may call surface 1.
    pub portal_limits: CallLimits,
    /// How fast each admin key may call surface 2.
    pub admin_limits: CallLimits,
    /// How fast each credential may call surfaces 3 and 4.
    pub company_limits: CallLimits,
    /// How fast each client may fetch tokens from one address.
    pub token_limits: CallLimits,
    /// The start of every error's `documentationUrl`, without a final slash.
    pub documentation_url: String,
    /// What is counted.
    pub telemetry: Telemetry,
}

impl App {
    /// Puts together what every call shares.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
