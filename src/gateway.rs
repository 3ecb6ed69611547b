//! `keyward gateway`: the data plane alone.

use std::path::Path;

use keyward_config::GatewayConfig;
use keyward_gateway::Gateway;
use tokio::runtime::Builder;

use crate::failure::Failure;
use crate::logging;
use crate::stop::{Stop, run_to_its_end};

/// Runs it until it is asked to stop.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    let config = GatewayConfig::load(config)?;
    logging::begin()?;
    let program = async {
        let mut stop = Stop::listen()?;
        let gateway = Gateway::start(config)?;
        tracing::info!(proxy = %gateway.proxy_address(), admin = %gateway.admin_address(), "the gateway listens");
        stop.asked().await;
        tracing::info!("the gateway drains");
        stop.end(gateway.drain()).await?;
        Ok(())
    };
    // The gateway has threads of its own; this one only waits for signals.
    run_to_its_end(Builder::new_current_thread(), program)?;
    Ok(())
}
