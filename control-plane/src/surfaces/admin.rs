//! Surface 2: operators manage accounts (here called customers), keys and tiers. snake_case.

pub mod admin_keys;
pub mod api_keys;
pub mod audit;
pub mod customers;
pub mod environments;
pub mod error;
pub mod gateways;
pub mod grants;
pub mod guard;
pub mod leaks;
pub mod tiers;
pub mod usage;
pub mod users;
pub mod webhooks;
pub mod wire;
