//! The control plane from outside: real listeners, a real SQLite file, one test file per endpoint.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can not go on must fail where it stands"
)]

mod admin;
mod export;
mod import;
mod plane;
mod portal;
mod promises;
