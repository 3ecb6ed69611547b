//! `keyward gateway`: the data plane alone.

use std::path::Path;

use anyhow::Context as _;
use keyward_gateway::lifecycle::{Configured, Signals};
use tokio::runtime::Builder;

use crate::failure::Failure;
use crate::logging;
use crate::stop::{Stop, run_to_its_end};

/// Runs it until it is asked to stop.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    let config = Configured::read(config)?;
    logging::begin()?;
    let program = async {
        let mut stop = Stop::listen()?;
        let signals = Signals::listen().context("can't listen for signals")?;
        let mut gateway = config.start(signals)?;
        let (proxy, admin) = (
            gateway.gateway().proxy_address(),
            gateway.gateway().admin_address(),
        );
        tracing::info!(%proxy, %admin, "the gateway listens");
        tokio::select! {
            () = stop.asked() => {}
            () = gateway.attend() => {}
        }
        tracing::info!("the gateway drains");
        stop.end(gateway.drain()).await?;
        Ok(())
    };
    // The gateway has threads of its own; this one only waits for signals.
    run_to_its_end(Builder::new_current_thread(), program)?;
    Ok(())
}
