//! The control plane from outside, on PostgreSQL: all modules of `main.rs`, and what only this database has. All tests
//! share one server, so this program runs as one process: `cargo test --test it-postgres`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can not go on must fail where it stands"
)]

mod admin;
mod expiry;
mod export;
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

// What there is on PostgreSQL alone.
mod database_away;
mod several_control_planes;

/// What this program's control planes keep everything in.
const DATABASE: plane::Database = plane::Database::Postgres;

#[test]
fn no_part_of_the_suite_is_left_out() {
    let modules = |text: &'static str| -> Vec<&str> {
        let lines = text.lines().filter(|line| line.starts_with("mod "));
        lines.collect()
    };
    assert_ne!(DATABASE, plane::Database::Sqlite);
    let here = modules(include_str!("postgres.rs"));
    for module in modules(include_str!("main.rs")) {
        assert!(here.contains(&module), "{module} is in main.rs alone");
    }
}
