//! `keyward-gateway --config FILE`: the data plane alone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keyward's data plane: checks keys and limits, forwards, counts.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, such as config/gateway.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    keyward_gateway::program::run(&Arguments::parse().config)
}
