//! Skeleton.

pub mod address;
pub mod path;
