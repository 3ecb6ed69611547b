//! The program `keyward-gateway`, also reached as `keyward gateway`: configuration, log, signals, exit code.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use keyward_config::GatewayConfig;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::Gateway;

/// Runs a gateway until SIGTERM or SIGINT: 0 when it drained, 1 when it failed, 2 when the configuration is
/// wrong.
#[must_use]
pub fn run(config: &Path) -> ExitCode {
    start_log();
    let config = match GatewayConfig::load(config) {
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

/// The log on standard error: for people on a terminal, JSON otherwise. `KEYWARD_LOG` filters it. A program that
/// has set up a log of its own keeps it.
pub fn start_log() {
    let filter = EnvFilter::try_from_env("KEYWARD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() { log.try_init() } else { log.json().try_init() };
    // Another log is there already: nothing to do.
    drop(started);
}

fn serve(config: GatewayConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything listens, so that a stop is never missed.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let gateway = Gateway::start(config)?;
        tracing::info!(proxy = %gateway.proxy_address(), admin = %gateway.admin_address(), "serving");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
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
