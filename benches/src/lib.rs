//! Benchmarks of the hot functions, and comparisons with peers.

pub mod measure;
pub mod nginx;
pub mod peer;
pub mod replica;
pub mod report;
pub mod responder;
