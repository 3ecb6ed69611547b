//! The contract from outside: what is published of it holds.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can not go on must fail where it stands"
)]

mod vectors;
