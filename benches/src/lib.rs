//! Comparisons of the gateway with its peers on the same work, and what the benchmarks of hot functions share.

pub mod measure;
pub mod nginx;
pub mod peer;
pub mod replica;
pub mod report;
pub mod responder;
