//! Keeping usage from growing without bound: folding starts of gateways that are over, deleting hours and days that are
//! old. In small transactions, and at most half of the time in them, so that merges go on in between.

use std::time::{Duration, Instant};

use super::{Registry, Result};
use crate::store::usage;

const LONGEST_REST: Duration = Duration::from_millis(100);

/// Folds every start that is settled.
///
/// # Errors
/// When the database fails; what was folded stays so.
pub async fn fold(registry: &Registry) -> Result<()> {
    loop {
        let began = Instant::now();
        if !usage::fold(&registry.store).await? {
            return Ok(());
        }
        rest(began).await;
    }
}

/// Gives up gateways that were not heard of for as long as days are kept, and deletes what is older than it is kept.
/// How many rows were deleted.
///
/// # Errors
/// When the database fails; what was deleted stays so.
pub async fn forget(registry: &Registry) -> Result<u64> {
    let horizon = registry.usage_horizon();
    let given_up = usage::give_up(&registry.store, horizon.days).await?;
    if given_up > 0 {
        tracing::warn!(
            gateways = given_up,
            "gateways were not heard of for as long as days of usage are kept, and are given up"
        );
    }
    fold(registry).await?;
    let mut deleted = 0;
    loop {
        let began = Instant::now();
        match usage::forget(&registry.store, horizon).await? {
            0 => return Ok(deleted),
            rows => deleted += rows,
        }
        rest(began).await;
    }
}

async fn rest(began: Instant) {
    tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
}
