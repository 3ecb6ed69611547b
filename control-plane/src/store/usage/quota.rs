//! What the quota book of the sync service is loaded from. Accepted production calls only.

use std::collections::HashMap;

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis};
use sqlx::AssertSqlSafe;

use super::rows::{ROWS_A_STATEMENT, placeholders};
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

/// The contract starts of these accounts; those that are not there are absent.
///
/// # Errors
/// When the database fails.
pub async fn contract_starts(
    store: &Store,
    accounts: &[AccountId],
) -> Result<Vec<(AccountId, Option<UnixMillis>)>> {
    let mut found = Vec::with_capacity(accounts.len());
    for chunk in accounts.chunks(ROWS_A_STATEMENT) {
        let these = placeholders(1, chunk.len());
        let sql = format!("SELECT id, contract_start FROM accounts WHERE id IN ({these})");
        let mut query = sqlx::query_as(AssertSqlSafe(sql)).persistent(is_usual(chunk.len()));
        for account in chunk {
            query = query.bind(account.to_string());
        }
        let rows: Vec<(String, Option<i64>)> = query.fetch_all(store.readers()).await?;
        found.extend(
            rows.into_iter()
                .filter_map(|(id, start)| Some((id.parse().ok()?, start.map(UnixMillis)))),
        );
    }
    Ok(found)
}

/// Whether a statement over so many accounts is worth remembering.
fn is_usual(accounts: usize) -> bool {
    accounts == ROWS_A_STATEMENT || accounts == 1
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

/// What was counted of an account in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayCounted {
    /// By all gateways together.
    pub total: u64,
    /// By each start of each gateway: its id, the boot epoch, how many.
    pub boots: Vec<(String, u64, u64)>,
}

/// What accounts have spent in a period, in all and by each boot of each gateway. Both are of one moment: one statement
/// for a hundred accounts. Accounts that spent nothing are absent.
///
/// # Errors
/// When the database fails.
pub async fn counted_in(
    store: &Store,
    accounts: &[AccountId],
    period: QuotaPeriod,
) -> Result<HashMap<AccountId, GatewayCounted>> {
    let mut found: HashMap<AccountId, GatewayCounted> = HashMap::with_capacity(accounts.len());
    for chunk in accounts.chunks(ROWS_A_STATEMENT) {
        let these = placeholders(3, chunk.len());
        let sql = format!(
            "SELECT account_id, '' AS gateway_id, CAST(0 AS BIGINT) AS boot_epoch, \
             CAST(SUM(accepted) AS BIGINT) AS accepted FROM usage_account_days \
             WHERE account_id IN ({these}) AND environment = 'production' AND day >= $1 AND day < $2 \
             GROUP BY account_id UNION ALL \
             SELECT d.account_id, b.gateway_id, b.boot_epoch, CAST(SUM(d.accepted) AS BIGINT) \
             FROM usage_boot_days d JOIN usage_boots b ON b.id = d.boot \
             WHERE d.account_id IN ({these}) AND d.day >= $1 AND d.day < $2 \
             GROUP BY d.account_id, b.gateway_id, b.boot_epoch"
        );
        let mut query = sqlx::query_as(AssertSqlSafe(sql))
            .persistent(is_usual(chunk.len()))
            .bind(day_of(period.start))
            .bind(day_of(period.end));
        for account in chunk {
            query = query.bind(account.to_string());
        }
        let rows: Vec<(String, String, i64, i64)> = query.fetch_all(store.readers()).await?;
        for (account, gateway, epoch, accepted) in rows {
            let Ok(account) = account.parse() else { continue };
            let counted = found.entry(account).or_default();
            // No gateway's id is empty.
            if gateway.is_empty() {
                counted.total = count(accepted);
            } else {
                counted.boots.push((gateway, count(epoch), count(accepted)));
            }
        }
    }
    Ok(found)
}

/// The gateways that ever counted anything, those first whose last start is the newest.
///
/// # Errors
/// When the database fails.
pub async fn newest_gateways(store: &Store, limit: usize) -> Result<Vec<String>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT gateway_id, MAX(id) FROM usage_boots GROUP BY gateway_id ORDER BY MAX(id) DESC LIMIT $1",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(store.readers())
    .await?;
    Ok(rows.into_iter().map(|(gateway, _)| gateway).collect())
}

/// Whether a gateway ever counted anything.
///
/// # Errors
/// When the database fails.
pub async fn has_counted(store: &Store, gateway_id: &str) -> Result<bool> {
    Ok(
        sqlx::query("SELECT id FROM usage_boots WHERE gateway_id = $1 LIMIT 1")
            .bind(gateway_id.to_owned())
            .fetch_optional(store.readers())
            .await?
            .is_some(),
    )
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
