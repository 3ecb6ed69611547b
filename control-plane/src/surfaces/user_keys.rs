//! Surface 4: users' own keys under claims. camelCase.

pub mod error;

/// Where it stands, with and without an environment before it.
pub const PATH: &str = "/api/v1/psp/product-manager/customer-user-api-keys";
