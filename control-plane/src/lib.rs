//! Keyward's control plane: accounts, keys, tiers and usage over REST; the sync service for gateways.

pub mod clock;
pub mod domain;
pub mod operations;
pub mod store;
pub mod sync;
