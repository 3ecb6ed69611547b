//! Skeleton.

pub mod address;
pub mod path;
pub mod route;
pub mod telemetry;
