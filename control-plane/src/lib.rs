//! Keyward's control plane: accounts, keys, tiers and usage over REST; the sync service for gateways.

pub mod domain;
pub mod store;
pub mod sync;
