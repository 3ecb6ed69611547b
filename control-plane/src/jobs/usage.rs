//! Keeping usage from growing without bound. It may take long, so that it runs beside the other jobs: starts of gateways
//! that are over are folded soon after they are known to be, old hours and days deleted once an hour.

use std::time::Duration;

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::{Every, HOUR};
use crate::App;
use crate::operations::{Result, usage_upkeep};
use crate::store::jobs;

const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(app: &App, stop: &CancellationToken) {
    let holder = uuid::Uuid::now_v7().to_string();
    let mut every_hour = Every::new(HOUR);
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        let looked = tokio::select! {
            looked = look(app, &holder, &mut every_hour) => looked,
            () = stop.cancelled() => return,
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "usage can't be folded or forgotten; trying again");
        }
    }
}

async fn look(app: &App, holder: &str, every_hour: &mut Every) -> Result<()> {
    let registry = &app.registry;
    // Two control planes that fold at once do no harm, but each other's work.
    usage_upkeep::fold(registry).await?;
    if every_hour.is_due(registry.clock.now()) {
        let span = HOUR.saturating_sub(LOOK_EVERY);
        if jobs::claim(&registry.store, "usage", holder, registry.clock.now(), span).await? {
            let deleted = usage_upkeep::forget(registry).await?;
            app.telemetry
                .with(|| counter!("keyward_usage_rows_deleted_total").increment(deleted));
        }
    }
    Ok(())
}
