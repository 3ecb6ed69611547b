//! Surface 1.

mod any_endpoint;
mod create;
mod delete;
mod idempotency;
mod limits;
mod list;
mod rename;
mod rotate_key;
mod show;
mod usage;
