//! Reloads and upgrades of a gateway under load, and the memory of idle connections, with release programs.
//!
//! It fails when a call failed, when a WebSocket did not live through a reload, or was not told at an upgrade.

use clap::Parser;
use keyward_loadtest::lifecycle::{Plan, run};

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
    /// Upgrades.
    #[arg(long, default_value = "10")]
    upgrades: usize,
    /// WebSockets that are open all the while.
    #[arg(long, default_value = "20")]
    sockets: usize,
    /// Idle keep-alive connections whose memory is measured.
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
        upgrades: arguments.upgrades,
        sockets: arguments.sockets,
        idle: arguments.idle,
    }))?;
    println!("{report}");
    report.verdict()
}
