//! Starts real servers and Keyward's own programs, for tests, load tests and benchmarks.
//!
//! Every process that is started here is stopped when its value is dropped, and by the kernel when the
//! starting program is killed, so none outlives its test. Ports are reserved between test programs that run
//! at the same time. Nothing here waits for a fixed time: [`eventually`] asks again until a deadline.

mod certificates;
mod control_plane;
mod eventually;
mod gateway;
mod http;
mod issuer;
mod nginx;
mod port;
pub mod postgres;
mod process;
mod program;
mod redis;
mod spawner;
mod standalone;
mod usage;

pub use certificates::{Authority, Certificate, Validity};
pub use control_plane::{ControlPlaneProcess, ControlPlaneSetup, SeedPlan, SeededAccount};
pub use eventually::eventually;
pub use gateway::{GatewayProcess, GatewaySetup};
pub use http::{http_client, metric};
pub use issuer::{Issuer, Signed, State};
pub use nginx::Nginx;
pub use port::{free_address, free_offset, free_port};
pub use postgres::Postgres;
pub use process::{Process, Signal};
pub use program::{Program, binary};
pub use redis::{RedisCluster, RedisSentinels, RedisServer, SlotMove};
pub use standalone::{Demo, DemoEnvironment, Standalone, StandaloneAddresses};
pub use usage::ProcessUsage;

/// How long a program may take to become ready, on a machine that is busy compiling something else.
pub const READY_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);
