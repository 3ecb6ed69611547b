//! Skeleton.

pub mod access_log;
pub mod address;
pub mod admin;
pub mod path;
pub mod route;
pub mod telemetry;
