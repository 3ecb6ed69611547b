//! Many gateways with empty disks at once: how soon all of them are ready, and what that takes of the control plane.

use std::time::{Duration, Instant};

use keyward_harness::{ControlPlaneProcess, GatewayProcess, GatewaySetup, SeedPlan};
use keyward_loadtest::Tally;

use super::figures::{Figure, Part, mebibytes, ms, quantile};
use super::system;

const ACCOUNTS: usize = 100;
const READY_WITHIN: Duration = Duration::from_secs(900);

/// So many gateways, so many keys.
///
/// # Errors
/// When something doesn't start.
pub async fn measure(gateways: usize, keys: usize) -> anyhow::Result<Part> {
    let mut part = Part::new(
        format!("{gateways} gateways with empty disks at once, {keys} keys"),
        "one control plane on SQLite; all of it on two cores, nothing pinned",
    );
    let folder = tempfile::tempdir()?;
    let setup = system::setup(folder.path(), None, system::TO_THE_END)?;
    setup.seed(&SeedPlan {
        accounts: ACCOUNTS,
        customers_per_account: keys / ACCOUNTS - 1,
        tier: "enterprise".to_owned(),
    })?;
    let control_plane = ControlPlaneProcess::start(&setup).await?;
    let before = control_plane.process().usage()?;
    let tally = Tally::start()?;
    let began = Instant::now();
    let mut launched = Vec::new();
    for number in 0..gateways {
        let id = format!("edge-{number}");
        let mut setup = GatewaySetup::new(folder.path().join(&id), &control_plane, tally.address())
            .settings("workers = 1")
            .env("KEYWARD_LOG", "warn");
        setup.id = id;
        launched.push(GatewayProcess::launch(&setup)?);
    }
    let ready = launched.iter().map(|gateway| async move {
        let url = format!("{}/readyz", gateway.admin_url());
        gateway.process().ready(&url, READY_WITHIN).await?;
        anyhow::Ok(began.elapsed())
    });
    let took = futures_util::future::try_join_all(ready).await?;
    let after = control_plane.process().usage()?;
    part.add(Figure::told("the first is ready after", ms(quantile(&took, 0.0))));
    part.add(Figure::told("all are ready after", ms(quantile(&took, 1.0))));
    part.add(Figure::told(
        "control plane: resident before, afterwards, at most",
        format!(
            "{}, {}, {}",
            mebibytes(before.resident_bytes),
            mebibytes(after.resident_bytes),
            mebibytes(after.peak_resident_bytes)
        ),
    ));
    part.add(Figure::told(
        "control plane: processor time",
        ms(after.processor_time().saturating_sub(before.processor_time())),
    ));
    Ok(part)
}
