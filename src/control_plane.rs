//! `keyward control-plane`: the control plane alone.

use std::path::Path;

use keyward_config::ControlPlaneConfig;
use keyward_control_plane::ControlPlane;
use tokio::runtime::Builder;

use crate::failure::Failure;
use crate::logging;
use crate::stop::{Stop, run_to_its_end};

/// Runs it until it is asked to stop.
pub(crate) fn run(config: &Path) -> Result<(), Failure> {
    let config = ControlPlaneConfig::load(config)?;
    logging::begin()?;
    let program = async {
        let mut stop = Stop::listen()?;
        let control_plane = ControlPlane::start(config).await?;
        tracing::info!(
            api = %control_plane.api,
            sync = %control_plane.sync,
            admin = %control_plane.admin,
            "the control plane listens"
        );
        stop.asked().await;
        tracing::info!("the control plane stops");
        stop.end(control_plane.shutdown()).await?;
        Ok(())
    };
    run_to_its_end(Builder::new_multi_thread(), program)?;
    Ok(())
}
