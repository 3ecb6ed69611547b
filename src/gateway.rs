//! `keyward gateway`: the data plane alone.

use std::path::Path;

use keyward_config::GatewayConfig;
use keyward_gateway::Gateway;

use crate::failure::Failure;
use crate::logging;
use crate::stop::Stop;

/// Runs it until it is asked to stop.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    let config = GatewayConfig::load(config)?;
    logging::begin()?;
    // The gateway has threads of its own; this runtime only waits for signals.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime.block_on(async {
        let mut stop = Stop::listen()?;
        let gateway = Gateway::start(config)?;
        tracing::info!(proxy = %gateway.proxy_address(), admin = %gateway.admin_address(), "the gateway listens");
        stop.asked().await;
        tracing::info!("the gateway drains");
        stop.end(gateway.drain()).await?;
        Ok(())
    })
}
