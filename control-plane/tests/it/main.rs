//! The control plane from outside: real listeners, a real SQLite file, one test file per endpoint. All of it runs
//! on PostgreSQL too: whatever is added here is added to `postgres.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can not go on must fail where it stands"
)]

mod admin;
mod expiry;
mod export;
#[expect(dead_code, reason = "PostgreSQL alone has what most of it is for")]
mod gateway;
mod gateway_access;
mod import;
mod keys;
mod live;
mod migrations;
mod oauth;
mod openapi;
mod plane;
mod portal;
mod promises;
mod quota;
mod receiver;
mod tokens;
mod user_keys;

/// What this program's control planes keep everything in.
const DATABASE: plane::Database = plane::Database::Sqlite;
