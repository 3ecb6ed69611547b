//! Benchmarks of the hot functions, and comparisons with peers.

pub mod replica;
