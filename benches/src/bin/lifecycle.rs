//! Reloads and upgrades of a gateway under load, and the memory of idle connections, with release programs.
//!
//! It fails when a call failed, when a WebSocket did not live through a reload, or was not told at an upgrade.

use std::time::Duration;

use clap::Parser;
use keyward_loadtest::lifecycle::{Plan, Wire, run};

/// Reloads and upgrades a gateway that serves.
#[derive(Parser)]
#[command(name = "lifecycle-bench", version)]
struct Arguments {
    /// Calls a second, all the while.
    #[arg(long, default_value = "5000")]
    per_second: u32,
    /// Connections that they come on.
    #[arg(long, default_value = "64")]
    connections: usize,
    /// Reloads.
    #[arg(long, default_value = "100")]
    reloads: usize,
    /// Milliseconds from the beginning of one to that of the next, at least.
    #[arg(long, default_value = "400")]
    reload_every_ms: u64,
    /// Upgrades.
    #[arg(long, default_value = "10")]
    upgrades: usize,
    /// Milliseconds from the beginning of one to that of the next, at least.
    #[arg(long, default_value = "2000")]
    upgrade_every_ms: u64,
    /// WebSockets that are open all the while.
    #[arg(long, default_value = "20")]
    sockets: usize,
    /// Idle keep-alive connections whose memory is measured, of each kind.
    #[arg(long, default_value = "10000")]
    idle: usize,
}

#[expect(clippy::print_stdout, reason = "what it measures is for people")]
fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(run(Plan {
        per_second: arguments.per_second,
        connections: arguments.connections,
        reloads: arguments.reloads,
        reload_every: Duration::from_millis(arguments.reload_every_ms),
        upgrades: arguments.upgrades,
        upgrade_every: Duration::from_millis(arguments.upgrade_every_ms),
        sockets: arguments.sockets,
        idle: arguments.idle,
        wires: &[Wire::Clear, Wire::Tls, Wire::Http2],
    }))?;
    println!("{report}");
    report.verdict()
}
