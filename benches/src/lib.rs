//! Comparisons of the gateway with its peers on the same work.

pub mod measure;
pub mod nginx;
pub mod peer;
pub mod report;
pub mod responder;
