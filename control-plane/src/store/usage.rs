//! Usage as the gateways reported it: merging it in (`merge`), and the sums that the surfaces show.
//!
//! The greatest value seen of every counter is kept, and the sums by day move by the difference in the same
//! transaction: a repeated, reordered or late report changes nothing. Reading costs one range of at most a
//! year's days.

use std::collections::HashMap;

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, QuotaPeriod, UnixMillis};

use super::{Result, Store};

mod merge;
mod quota;
mod report;
mod rows;

pub use merge::{MERGED, Merger, Spent};
pub use quota::{
    Counted, accounts_in_use, contract_starts, counted_in, has_counted, newest_gateways, spent_by_boot,
    spent_in,
};
pub use report::{InvalidUsage, Report, Reported};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// The whole days since 1970 at an instant.
fn day_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// Calls of one day, month or year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct UsageCounts {
    /// Sent to an upstream.
    pub accepted: u64,
    /// Refused for a rate or the quota.
    pub limited: u64,
    /// Refused for the key, the customer or the account.
    pub refused: u64,
}

impl UsageCounts {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.limited = self.limited.saturating_add(other.limited);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

/// What an end customer used, in the calendar day, month and year (UTC) of one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomerUsage {
    /// This day.
    pub day: UsageCounts,
    /// This month.
    pub month: UsageCounts,
    /// This year.
    pub year: UsageCounts,
    /// The last call, accepted or refused.
    pub last_request_at: Option<UnixMillis>,
    /// Its bucket, as a gateway last saw it.
    pub bucket: Option<BucketSeen>,
}

/// A bucket as it stood at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSeen {
    /// What was left, in thousandths of a token.
    pub millitokens: u64,
    /// When.
    pub at: UnixMillis,
}

/// Accepted production calls of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// In the quota period that was asked for.
    pub in_period: u64,
    /// In the calendar month of the instant.
    pub month: u64,
    /// In the calendar year of the instant.
    pub year: u64,
}

/// What an end customer has used.
///
/// # Errors
/// When the database fails.
pub async fn customer_usage(
    store: &Store,
    account: AccountId,
    environment: Environment,
    customer: CustomerId,
    now: UnixMillis,
) -> Result<CustomerUsage> {
    let (day, month, year) = calendar(now);
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT day, accepted, limited, refused FROM usage_customer_days \
         WHERE account_id = $1 AND environment = $2 AND customer_id = $3 AND day BETWEEN $4 AND $5",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(customer.to_string())
    .bind(year)
    .bind(day)
    .fetch_all(store.readers())
    .await?;
    let since = |first: i64| {
        let mut sum = UsageCounts::default();
        for (_, accepted, limited, refused) in rows.iter().filter(|(day, ..)| *day >= first) {
            sum.add(counts(*accepted, *limited, *refused));
        }
        sum
    };
    Ok(CustomerUsage {
        day: since(day),
        month: since(month),
        year: since(year),
        last_request_at: last_request(store, account, environment, customer).await?,
        bucket: bucket(store, account, environment, customer).await?,
    })
}

async fn last_request(
    store: &Store,
    account: AccountId,
    environment: Environment,
    customer: CustomerId,
) -> Result<Option<UnixMillis>> {
    let (last,): (Option<i64>,) = sqlx::query_as(
        "SELECT MAX(last_request_at) FROM usage_customer_days \
         WHERE account_id = $1 AND environment = $2 AND customer_id = $3",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(customer.to_string())
    .fetch_one(store.readers())
    .await?;
    Ok(last.filter(|at| *at > 0).map(UnixMillis))
}

async fn bucket(
    store: &Store,
    account: AccountId,
    environment: Environment,
    customer: CustomerId,
) -> Result<Option<BucketSeen>> {
    let row: Option<(i64, i64)> = sqlx::query_as(
        "SELECT millitokens, at FROM usage_buckets \
         WHERE account_id = $1 AND environment = $2 AND customer_id = $3",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(customer.to_string())
    .fetch_optional(store.readers())
    .await?;
    Ok(row.map(|(millitokens, at)| BucketSeen {
        millitokens: count(millitokens),
        at: UnixMillis(at),
    }))
}

/// What an account has used in production: in a quota period, and in the calendar month and year of `now`.
///
/// # Errors
/// When the database fails.
pub async fn account_usage(
    store: &Store,
    account: AccountId,
    period: QuotaPeriod,
    now: UnixMillis,
) -> Result<AccountUsage> {
    let (today, month, year) = calendar(now);
    let (first, end) = (day_of(period.start), day_of(period.end));
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT day, accepted FROM usage_account_days \
         WHERE account_id = $1 AND environment = 'production' AND day >= $2 AND day <= $3",
    )
    .bind(account.to_string())
    .bind(first.min(year))
    .bind(today.max(end - 1))
    .fetch_all(store.readers())
    .await?;
    let sum = |days: std::ops::RangeInclusive<i64>| {
        let within = rows.iter().filter(|(day, _)| days.contains(day));
        within.map(|(_, accepted)| count(*accepted)).sum()
    };
    Ok(AccountUsage {
        in_period: sum(first..=end - 1),
        month: sum(month..=today),
        year: sum(year..=today),
    })
}

/// The production calls of an account on each day from the one of `from` to the last that begins before `to`; days
/// without any are absent.
///
/// # Errors
/// When the database fails.
pub async fn account_days(
    store: &Store,
    account: AccountId,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Vec<(UnixMillis, UsageCounts)>> {
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT day, accepted, limited, refused FROM usage_account_days \
         WHERE account_id = $1 AND environment = 'production' AND day >= $2 AND day < $3",
    )
    .bind(account.to_string())
    .bind(day_of(from))
    .bind(units_before(to, DAY_MS))
    .fetch_all(store.readers())
    .await?;
    Ok(series(rows, DAY_MS))
}

/// The production calls of an account in each hour from the one of `from` to the last that begins before `to`; hours
/// without any are absent. One range of each of its customers, keys and routes.
///
/// # Errors
/// When the database fails.
pub async fn account_hours(
    store: &Store,
    account: AccountId,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Vec<(UnixMillis, UsageCounts)>> {
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT c.hour, CAST(SUM(c.accepted) AS BIGINT), CAST(SUM(c.rate_limited + c.quota_refused) AS BIGINT), \
         CAST(SUM(c.auth_refused) AS BIGINT) FROM usage_subjects s JOIN usage_counters c ON c.subject = s.id \
         WHERE s.account_id = $1 AND s.environment = 'production' AND c.hour >= $2 AND c.hour < $3 \
         GROUP BY c.hour",
    )
    .bind(account.to_string())
    .bind(from.hour())
    .bind(units_before(to, HOUR_MS))
    .fetch_all(store.readers())
    .await?;
    Ok(series(rows, HOUR_MS))
}

fn series(rows: Vec<(i64, i64, i64, i64)>, unit_ms: i64) -> Vec<(UnixMillis, UsageCounts)> {
    rows.into_iter()
        .map(|(unit, accepted, limited, refused)| {
            let start = UnixMillis(unit.saturating_mul(unit_ms));
            (start, counts(accepted, limited, refused))
        })
        .collect()
}

fn counts(accepted: i64, limited: i64, refused: i64) -> UsageCounts {
    UsageCounts {
        accepted: count(accepted),
        limited: count(limited),
        refused: count(refused),
    }
}

/// How many days or hours since 1970 begin before an instant.
fn units_before(at: UnixMillis, unit_ms: i64) -> i64 {
    at.0.div_euclid(unit_ms) + i64::from(at.0.rem_euclid(unit_ms) != 0)
}

/// When each of these keys was last part of an accepted call; keys never used are absent.
///
/// # Errors
/// When the database fails.
pub async fn last_used(store: &Store, keys: &[KeyId]) -> Result<HashMap<KeyId, UnixMillis>> {
    let mut found = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(rows::ROWS_A_STATEMENT) {
        let sql = format!(
            "SELECT key_id, last_used_at FROM usage_keys WHERE key_id IN ({})",
            rows::placeholders(1, chunk.len())
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).persistent(false);
        for key in chunk {
            query = query.bind(key.to_string());
        }
        let rows: Vec<(String, i64)> = query.fetch_all(store.readers()).await?;
        found.extend(
            rows.into_iter()
                .filter_map(|(key, at)| Some((key.parse().ok()?, UnixMillis(at)))),
        );
    }
    Ok(found)
}

/// The days on which this day, month and year began.
fn calendar(now: UnixMillis) -> (i64, i64, i64) {
    let date = now.date();
    let start = |date| day_of(UnixMillis::start_of(date));
    (
        start(date),
        start(date.first_of_month()),
        start(date.first_of_year()),
    )
}

/// A stored count; a negative one, which nothing writes, counts as none.
fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

#[cfg(test)]
mod tests;
