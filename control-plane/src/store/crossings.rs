//! Which thresholds of their quota accounts have crossed: each is noted once for a contract year, and forgotten when a
//! grant lifts it above what was used.

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis};
use sqlx::{Any, AnyPool, Transaction};

use super::Result;

/// The thresholds, in per cent, that were noted for an account's period.
///
/// # Errors
/// When the database fails.
pub async fn noted(pool: &AnyPool, account: AccountId, period: QuotaPeriod) -> Result<Vec<i64>> {
    let rows: Vec<(i64,)> =
        sqlx::query_as("SELECT threshold FROM quota_crossings WHERE account_id = $1 AND period_start = $2")
            .bind(account.to_string())
            .bind(period.start.0)
            .fetch_all(pool)
            .await?;
    Ok(rows.into_iter().map(|(threshold,)| threshold).collect())
}

/// Forgets the thresholds above this one, in per cent: they can be crossed again.
///
/// # Errors
/// When the database fails.
pub async fn forget_above(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    period: QuotaPeriod,
    threshold: i64,
) -> Result<()> {
    sqlx::query("DELETE FROM quota_crossings WHERE account_id = $1 AND period_start = $2 AND threshold > $3")
        .bind(account.to_string())
        .bind(period.start.0)
        .bind(threshold)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes a threshold; `false` when it was noted before, by whomever.
///
/// # Errors
/// When the database fails.
pub async fn note(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    period: QuotaPeriod,
    threshold: i64,
    now: UnixMillis,
) -> Result<bool> {
    let noted = sqlx::query(
        "INSERT INTO quota_crossings (account_id, period_start, threshold, at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (account_id, period_start, threshold) DO NOTHING",
    )
    .bind(account.to_string())
    .bind(period.start.0)
    .bind(threshold)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(noted.rows_affected() == 1)
}
