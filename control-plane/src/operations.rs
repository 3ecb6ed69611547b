//! What can be done, whoever asks and however: load, decide, save, note in the audit trail, publish; one
//! transaction each. Knows no HTTP.
//!
//! An operation either happened as a whole, with its audit row and its place in the change log, or not at all.

pub mod account_keys;
pub mod account_usage;
pub mod accounts;
pub mod admin_keys;
pub mod audit_trail;
pub mod bootstrap;
pub mod catalogue;
pub mod change;
pub mod company_keys;
pub mod end_customers;
pub mod expiry;
pub mod export;
pub mod gateways;
pub mod grants;
pub mod held_snapshots;
pub mod idempotency;
pub mod identify;
pub mod import;
pub mod leaks;
pub mod live_buckets;
pub mod registry;
pub mod seed;
pub mod thresholds;
pub mod tokens;
pub mod usage_export;
pub mod usage_upkeep;
pub mod user_keys;
pub mod users;
pub mod webhooks;

pub use change::{Actor, ActorKind, Changed, Settled};
pub use registry::Registry;

use crate::domain::refusal::{Conflict, InvalidField, Missing, Refusal};
use crate::domain::seal::SealError;
use crate::store::StoreError;

/// Why an operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// A secret couldn't be sealed, or something sealed was broken.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// What every operation answers.
pub type Result<T> = std::result::Result<T, Error>;

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::Refused(missing.into())
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Self {
        Self::Refused(conflict.into())
    }
}

impl From<InvalidField> for Error {
    fn from(invalid: InvalidField) -> Self {
        Self::Refused(invalid.into())
    }
}
