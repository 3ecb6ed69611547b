//! Comparisons of the gateway with its peers on the same work, of the control plane on its databases, of
//! limits that gateways share, of how changes reach gateways, and what the benchmarks of hot functions share.

#[cfg(feature = "control-plane")]
pub mod limits;
#[cfg(feature = "control-plane")]
pub mod management;
pub mod measure;
pub mod nginx;
pub mod peer;
pub mod replica;
pub mod report;
pub mod responder;
#[cfg(feature = "stores")]
pub mod stores;
#[cfg(feature = "control-plane")]
pub mod sync;
