//! Keys that expire soon and of which that was not said yet: one range of an index.

use keyward_contract::UnixMillis;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use super::{Result, StoreError};

/// A key that expires soon.
#[derive(Clone, Debug)]
pub struct ExpiringKey {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: keyward_contract::AccountId,
    /// `test` or `production`.
    pub environment: String,
    /// The end customer of a customer key.
    pub customer: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// What of its text may be shown.
    pub mask: String,
    /// When it dies.
    pub expires_at: UnixMillis,
}

// A key in its rotation's grace was told of when it was rotated; a suspended account's keys are told of when it is
// active again, if that is in time.
const UNTOLD: &str = "SELECT k.id, k.account_id, k.environment, k.customer_id, k.name, k.mask, k.expires_at \
     FROM api_keys k JOIN accounts a ON a.id = k.account_id \
     WHERE k.expires_at IS NOT NULL AND k.state = 'active' AND k.rotated_at IS NULL AND a.status = 'active' \
     AND k.expires_at > $1 AND k.expires_at <= $2 \
     AND (k.expiry_told IS NULL OR k.expiry_told <> k.expires_at) ORDER BY k.expires_at, k.number LIMIT $3";

/// Whether there are any that expire after `now` and not after `until`.
///
/// # Errors
/// When the database fails.
pub async fn any(pool: &AnyPool, now: UnixMillis, until: UnixMillis) -> Result<bool> {
    let row = sqlx::query(UNTOLD)
        .bind(now.0)
        .bind(until.0)
        .bind(1i64)
        .fetch_optional(pool)
        .await?;
    Ok(row.is_some())
}

/// Notes of some that they are told of, and answers which.
///
/// # Errors
/// When the database fails.
pub async fn take(
    tx: &mut Transaction<'static, Any>,
    now: UnixMillis,
    until: UnixMillis,
    limit: i64,
) -> Result<Vec<ExpiringKey>> {
    let rows = sqlx::query(UNTOLD)
        .bind(now.0)
        .bind(until.0)
        .bind(limit)
        .fetch_all(&mut **tx)
        .await?;
    let keys: Vec<ExpiringKey> = rows.iter().map(key).collect::<Result<_>>()?;
    for key in &keys {
        sqlx::query("UPDATE api_keys SET expiry_told = expires_at WHERE id = $1")
            .bind(key.id.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(keys)
}

fn key(row: &AnyRow) -> Result<ExpiringKey> {
    let account: String = row.try_get("account_id")?;
    Ok(ExpiringKey {
        id: row.try_get("id")?,
        account: account.parse().map_err(StoreError::corrupt)?,
        environment: row.try_get("environment")?,
        customer: row.try_get("customer_id")?,
        name: row.try_get("name")?,
        mask: row.try_get("mask")?,
        expires_at: UnixMillis(row.try_get("expires_at")?),
    })
}
