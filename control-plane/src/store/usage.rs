//! Usage as the gateways reported it: merging it in (`merge`), what follows from it (`sums`), and reading that by hour,
//! day and month (`series`, `walk`).
//!
//! The greatest value seen of every counter is kept, and the sums by day and month move by the difference in the same
//! transaction: a repeated, reordered or late report changes nothing, however late it is. What would grow for ever
//! doesn't: counters of starts of gateways that are over are folded (`settled`), old hours and days deleted
//! (`retention`).

use std::collections::HashMap;

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, QuotaPeriod, UnixMillis};

use super::{Result, Store};
use crate::domain::series::Granularity;

mod billed;
mod ids;
mod known;
mod merge;
mod quota;
mod report;
mod retention;
mod rows;
mod series;
mod settled;
mod sums;
mod units;
mod walk;

pub use billed::{Billed, billed};
pub use known::{end_customer_is_known, key};
pub use merge::{MERGED, Merger, Spent};
pub use quota::{
    GatewayCounted, accounts_in_use, contract_starts, counted_in, has_counted, newest_gateways,
    spent_by_boot, spent_in,
};
pub use report::{InvalidUsage, Report, Reported};
pub use retention::{Horizon, forget};
pub use series::{Counted, Grouping, MOST_GROUPS, Selection, Stretch, UsedKey, groups, series};
pub use settled::{Starts, fold, give_up, hear};
pub use walk::{Caller, Scope, UsageRow, Walk};

const DAY_MS: i64 = 86_400_000;

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
    let of = Selection {
        account,
        environment,
        customer: Some(customer),
        key: None,
        route: None,
    };
    let end = UnixMillis(now.0.saturating_add(1));
    let until = |granularity, from| series(store, &of, Stretch::new(granularity, from, end));
    // The day first: what is merged in between is in the month then.
    let days = until(Granularity::Day, now).await?;
    let (date, first) = (now.date(), UnixMillis::start_of);
    let months = until(Granularity::Month, first(date.first_of_year())).await?;
    let since = |counted: &[(UnixMillis, Counted)], first: UnixMillis| {
        let mut sum = UsageCounts::default();
        for (_, counted) in counted.iter().filter(|(start, _)| *start >= first) {
            sum.add(counted.counts());
        }
        sum
    };
    Ok(CustomerUsage {
        day: since(&days, first(date)),
        month: since(&months, first(date.first_of_month())),
        year: since(&months, first(date.first_of_year())),
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
        "SELECT MAX(CASE WHEN t.last_refused_at > t.last_accepted_at THEN t.last_refused_at \
         ELSE t.last_accepted_at END) FROM usage_subjects s JOIN usage_subject_sums t ON t.subject = s.id \
         WHERE s.account_id = $1 AND s.environment = $2 AND s.customer_id = $3 AND t.unit = 3",
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
