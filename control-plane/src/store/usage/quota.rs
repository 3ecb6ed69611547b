//! What the quota book of the sync service is loaded from. Accepted production calls only.

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis};

use super::{count, day_of};
use crate::store::{Result, Store};

/// The contract start of every account that has production usage since a day of 1970.
///
/// # Errors
/// When the database fails.
pub async fn accounts_in_use(
    store: &Store,
    since: UnixMillis,
) -> Result<Vec<(AccountId, Option<UnixMillis>)>> {
    let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
        "SELECT id, contract_start FROM accounts WHERE id IN (SELECT account_id FROM usage_account_days \
         WHERE environment = 'production' AND accepted > 0 AND day >= $1)",
    )
    .bind(day_of(since))
    .fetch_all(store.readers())
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, start)| Some((id.parse().ok()?, start.map(UnixMillis))))
        .collect())
}

/// The contract start of one account; `None` when there is no such account.
///
/// # Errors
/// When the database fails.
pub async fn contract_start(store: &Store, account: AccountId) -> Result<Option<Option<UnixMillis>>> {
    let row: Option<(Option<i64>,)> = sqlx::query_as("SELECT contract_start FROM accounts WHERE id = $1")
        .bind(account.to_string())
        .fetch_optional(store.readers())
        .await?;
    Ok(row.map(|(start,)| start.map(UnixMillis)))
}

/// What an account has spent in a period, by all gateways together.
///
/// # Errors
/// When the database fails.
pub async fn spent_in(store: &Store, account: AccountId, period: QuotaPeriod) -> Result<u64> {
    let (sum,): (Option<i64>,) = sqlx::query_as(
        "SELECT CAST(SUM(accepted) AS BIGINT) FROM usage_account_days \
         WHERE account_id = $1 AND environment = 'production' AND day >= $2 AND day < $3",
    )
    .bind(account.to_string())
    .bind(day_of(period.start))
    .bind(day_of(period.end))
    .fetch_one(store.readers())
    .await?;
    Ok(sum.map_or(0, count))
}

/// What one boot of one gateway counted, by account and day.
///
/// # Errors
/// When the database fails.
pub async fn spent_by_boot(
    store: &Store,
    gateway_id: &str,
    boot_epoch: u64,
) -> Result<Vec<(AccountId, i64, u64)>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT account_id, day, accepted FROM usage_boot_days WHERE boot = \
         (SELECT id FROM usage_boots WHERE gateway_id = $1 AND boot_epoch = $2)",
    )
    .bind(gateway_id.to_owned())
    .bind(i64::try_from(boot_epoch).unwrap_or(i64::MAX))
    .fetch_all(store.readers())
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(account, day, accepted)| Some((account.parse().ok()?, day, count(accepted))))
        .collect())
}
