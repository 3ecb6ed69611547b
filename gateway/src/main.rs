//! `keyward-gateway --config FILE`: the data plane alone.
//!
//! Exit codes: 0 ended in good order, 1 failed at run time, 2 wrong configuration or arguments.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use keyward_gateway::lifecycle::{Configured, Signals};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

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
    run(&Arguments::parse().config)
}

fn run(config: &Path) -> ExitCode {
    start_log();
    let config = match Configured::read(config) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The log on standard error: for people on a terminal, JSON otherwise. `KEYWARD_LOG`, or else `RUST_LOG`, filters it.
fn start_log() {
    let filter = EnvFilter::try_from_env("KEYWARD_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init()
    } else {
        log.json().flatten_event(true).init()
    }
}

fn serve(config: Configured) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Before anything listens, so that a stop is never missed.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut gateway = config.start(Signals::listen()?)?;
        let (proxy, admin) = (
            gateway.gateway().proxy_address(),
            gateway.gateway().admin_address(),
        );
        tracing::info!(%proxy, %admin, "serving");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = gateway.attend() => {}
        }
        tracing::info!("draining");
        gateway.drain().await;
        Ok(())
    })
}

#[expect(clippy::print_stderr, reason = "the last words of a program that can't go on")]
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("keyward-gateway: {error}");
}
