//! Extra validations that operators granted. They are only ever added; each read is one indexed range.

use std::collections::HashMap;

use keyward_contract::{AccountId, Grant, QuotaPeriod, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Executor, Row};
use uuid::Uuid;

use super::records::narrow;
use super::{Result, StoreError, Tx};
use crate::domain::grant::QuotaGrant;
use crate::domain::text::Name;

/// Stores a new one.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Tx, grant: &QuotaGrant) -> Result<()> {
    sqlx::query(
        "INSERT INTO quota_grants (id, account_id, at, validations, reason, created_at, created_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(grant.id.to_string())
    .bind(grant.account.to_string())
    .bind(grant.at.0)
    .bind(i64::try_from(grant.validations).map_err(StoreError::corrupt)?)
    .bind(grant.reason.as_ref().map(|reason| reason.as_str().to_owned()))
    .bind(grant.created_at.0)
    .bind(grant.created_by.clone())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How many grants an account has in a contract year, and how many validations they give together.
///
/// # Errors
/// When the database fails.
pub async fn in_period<'e>(
    executor: impl Executor<'e, Database = Any>,
    account: AccountId,
    period: QuotaPeriod,
) -> Result<(i64, u64)> {
    let (many, sum): (i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), CAST(COALESCE(SUM(validations), 0) AS BIGINT) FROM quota_grants \
         WHERE account_id = $1 AND at >= $2 AND at < $3",
    )
    .bind(account.to_string())
    .bind(period.start.0)
    .bind(period.end.0)
    .fetch_one(executor)
    .await?;
    Ok((many, narrow(sum)?))
}

/// The newest grants of an account, older than `before` (creation and id); of one contract year, or of all.
///
/// # Errors
/// When the database fails.
pub async fn list(
    pool: &AnyPool,
    account: AccountId,
    period: Option<QuotaPeriod>,
    before: Option<(UnixMillis, Uuid)>,
    limit: i64,
) -> Result<Vec<QuotaGrant>> {
    let (start, end) = period.map_or((i64::MIN, i64::MAX), |period| (period.start.0, period.end.0));
    let (before_at, before_id) = before.map_or((i64::MAX, String::new()), |(at, id)| (at.0, id.to_string()));
    let rows = sqlx::query(
        "SELECT id, account_id, at, validations, reason, created_at, created_by FROM quota_grants \
         WHERE account_id = $1 AND at >= $2 AND at < $3 AND (created_at, id) < ($4, $5) \
         ORDER BY created_at DESC, id DESC LIMIT $6",
    )
    .bind(account.to_string())
    .bind(start)
    .bind(end)
    .bind(before_at)
    .bind(before_id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(grant).collect()
}

/// An account's grants from an instant on, oldest first, as gateways are told.
///
/// # Errors
/// When the database fails.
pub async fn since(tx: &mut Tx, account: AccountId, from: UnixMillis) -> Result<Vec<Grant>> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT at, validations FROM quota_grants WHERE account_id = $1 AND at >= $2 ORDER BY at, id",
    )
    .bind(account.to_string())
    .bind(from.0)
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter().map(|(at, many)| told(at, many)).collect()
}

/// The same of all accounts after one id and up to another, by one range query.
///
/// # Errors
/// When the database fails.
pub async fn of_range(
    tx: &mut Tx,
    (after, until): (&str, &str),
    from: UnixMillis,
) -> Result<HashMap<AccountId, Vec<Grant>>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT account_id, at, validations FROM quota_grants \
         WHERE account_id > $1 AND account_id <= $2 AND at >= $3 ORDER BY account_id, at, id",
    )
    .bind(after.to_owned())
    .bind(until.to_owned())
    .bind(from.0)
    .fetch_all(&mut **tx)
    .await?;
    let mut grants: HashMap<AccountId, Vec<Grant>> = HashMap::new();
    for (account, at, many) in rows {
        let account = account.parse().map_err(StoreError::corrupt)?;
        grants.entry(account).or_default().push(told(at, many)?);
    }
    Ok(grants)
}

fn told(at: i64, validations: i64) -> Result<Grant> {
    Ok(Grant {
        at: UnixMillis(at),
        validations: narrow(validations)?,
    })
}

fn grant(row: &AnyRow) -> Result<QuotaGrant> {
    let text = |column: &str| -> Result<String> { Ok(row.try_get(column)?) };
    Ok(QuotaGrant {
        id: text("id")?.parse().map_err(StoreError::corrupt)?,
        account: text("account_id")?.parse().map_err(StoreError::corrupt)?,
        at: UnixMillis(row.try_get("at")?),
        validations: narrow(row.try_get("validations")?)?,
        reason: row.try_get::<Option<String>, _>("reason")?.map(Name::from_stored),
        created_at: UnixMillis(row.try_get("created_at")?),
        created_by: row.try_get("created_by")?,
    })
}
