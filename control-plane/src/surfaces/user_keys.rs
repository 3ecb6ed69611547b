//! Surface 4: users' own keys under claims. camelCase.

pub mod create;
pub mod delete;
pub mod error;
pub mod list;
pub mod place;
pub mod update;
pub mod usage;
pub mod wire;

/// Where it stands, with and without an environment before it.
pub const PATH: &str = "/api/v1/psp/product-manager/customer-user-api-keys";
