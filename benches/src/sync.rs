//! How key changes reach gateways, measured: what `sync` promises, each part on whole systems of release programs.
//!
//! Everything runs on one machine of two cores. Where a part pins its programs, it says so; times under load are only
//! ever compared with times of the same run.

pub mod caller;
pub mod endings;
pub mod fan_out;
pub mod figures;
pub mod generated;
pub mod herd;
pub mod key_sets;
pub mod light;
pub mod outpost;
pub mod pair;
pub mod propagation;
pub mod rest;
pub mod simulated;
pub mod system;
