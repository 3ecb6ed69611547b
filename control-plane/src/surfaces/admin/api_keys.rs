//! `/admin/customers/{customer_id}/api-keys`: account keys.

pub mod create;
pub mod list;
pub mod revoke;
pub mod rotate;
pub mod update;
