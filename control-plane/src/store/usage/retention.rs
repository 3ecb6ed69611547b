//! Deleting hours and days that are older than they are kept. Months are kept for ever.
//!
//! Hours are what a late report is compared with, so those of a start are deleted only once it is settled: a report
//! that comes a year late still counts what it adds and no more. Totals and sums need no such care; what a very late
//! report adds to a day that was deleted is counted in its month, and deleted again.

use keyward_contract::UnixMillis;
use sqlx::{Any, Transaction};

use super::settled::ALL_SETTLED;
use super::units::number;
use crate::domain::series::Granularity;
use crate::store::{Purpose, Result, Store};

/// So many rows are deleted in one transaction: a merge that waits for it waits milliseconds.
const ROWS_AT_ONCE: i64 = 1_000;

/// The first instants that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// By hour.
    pub hours: UnixMillis,
    /// By day.
    pub days: UnixMillis,
}

/// Deletes some of what lies before the horizon, in one small transaction: how many rows; 0 when there is no more.
///
/// # Errors
/// When the database fails; nothing is deleted then.
pub async fn forget(store: &Store, horizon: Horizon) -> Result<u64> {
    let (hour, day) = (
        number(Granularity::Hour, horizon.hours),
        number(Granularity::Day, horizon.days),
    );
    let mut tx = store.begin(Purpose::Usage).await?;
    let mut deleted = 0;
    let olds = [
        (TOTALS, 1, hour),
        (TOTALS, 2, day),
        (SUBJECT_SUMS, 2, day),
        (BOOT_DAYS, 0, day),
    ];
    for (sql, unit, before) in olds {
        deleted += delete(&mut tx, sql, unit, before).await?;
        if deleted >= ROWS_AT_ONCE.unsigned_abs() {
            break;
        }
    }
    if deleted == 0 {
        deleted = forget_counters(&mut tx, hour).await?;
    }
    tx.commit().await?;
    Ok(deleted)
}

const TOTALS: &str = "DELETE FROM usage_totals WHERE (owner, unit, start) IN (SELECT owner, unit, start \
                      FROM usage_totals WHERE unit = $1 AND start < $2 ORDER BY start, owner LIMIT $3)";
const SUBJECT_SUMS: &str = "DELETE FROM usage_subject_sums WHERE (subject, unit, start) IN (SELECT subject, unit, \
                            start FROM usage_subject_sums WHERE unit = $1 AND start < $2 ORDER BY start, subject \
                            LIMIT $3)";
const BOOT_DAYS: &str = "DELETE FROM usage_boot_days WHERE (boot, account_id, day) IN (SELECT boot, account_id, day \
                         FROM usage_boot_days WHERE $1 = 0 AND day < $2 ORDER BY day LIMIT $3)";
const COUNTERS: &str = "DELETE FROM usage_counters WHERE (subject, hour, boot) IN (SELECT subject, hour, boot \
                        FROM usage_counters WHERE boot = $1 AND hour < $2 ORDER BY hour, subject LIMIT $3)";

async fn delete(tx: &mut Transaction<'static, Any>, sql: &'static str, of: i64, before: i64) -> Result<u64> {
    let deleted = sqlx::query(sql)
        .bind(of)
        .bind(before)
        .bind(ROWS_AT_ONCE)
        .execute(&mut **tx)
        .await?;
    Ok(deleted.rows_affected())
}

/// Of starts that are settled and folded; of one gateway after the other.
async fn forget_counters(tx: &mut Transaction<'static, Any>, before: i64) -> Result<u64> {
    let oldest: Option<(i64,)> = sqlx::query_as(
        "SELECT b.id FROM usage_boots b WHERE b.boot_epoch = $1 \
         AND EXISTS (SELECT 1 FROM usage_counters c WHERE c.boot = b.id AND c.hour < $2) LIMIT 1",
    )
    .bind(ALL_SETTLED)
    .bind(before)
    .fetch_optional(&mut **tx)
    .await?;
    match oldest {
        Some((boot,)) => delete(tx, COUNTERS, boot, before).await,
        None => Ok(0),
    }
}
