//! End customers of accounts.

use keyward_contract::{AccountId, CustomerId, Environment, Limits, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use super::records::{environment, narrow};
use super::{Result, StoreError};
use crate::domain::customer::EndCustomer;
use crate::domain::text::Name;

macro_rules! select_customer {
    ($rest:literal) => {
        concat!(
            "SELECT account_id, environment, id, name, rate_limit, burst_limit, created_at, updated_at ",
            "FROM end_customers WHERE account_id = $1 AND environment = $2 AND status = 'active' ",
            $rest
        )
    };
}

const BY_ID: &str = select_customer!("AND id = $3");

/// The living end customer with this id.
///
/// # Errors
/// When the database fails.
pub async fn by_id(
    pool: &AnyPool,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<Option<EndCustomer>> {
    let row = sqlx::query(BY_ID)
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(id.as_str())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(customer).transpose()
}

/// The living end customer with this id, as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<Option<EndCustomer>> {
    let row = sqlx::query(BY_ID)
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(id.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(customer).transpose()
}

/// Which piece of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// How many at most.
    pub limit: i64,
    /// How many are skipped.
    pub offset: i64,
}

/// The living end customers of an environment, newest first, and how many there are in all; one state of the
/// database answers both.
///
/// # Errors
/// When the database fails.
pub async fn list(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    page: Page,
) -> Result<(Vec<EndCustomer>, i64)> {
    let (total,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM end_customers WHERE account_id = $1 AND environment = $2 AND status = 'active'",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .fetch_one(&mut **tx)
    .await?;
    let rows = sqlx::query(select_customer!(
        "ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4"
    ))
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(page.limit)
    .bind(page.offset)
    .fetch_all(&mut **tx)
    .await?;
    let customers = rows.iter().map(customer).collect::<Result<_>>()?;
    Ok((customers, total))
}

/// Whether a living end customer of this environment has this name.
///
/// # Errors
/// When the database fails.
pub async fn name_is_taken(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    name: &Name,
) -> Result<bool> {
    let row = sqlx::query(select_customer!("AND name = $3"))
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(name.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Stores a new end customer.
///
/// # Errors
/// When the database fails; [`StoreError::is_duplicate`] when the name was taken meanwhile.
pub async fn insert(tx: &mut Transaction<'static, Any>, customer: &EndCustomer) -> Result<()> {
    sqlx::query(
        "INSERT INTO end_customers (account_id, environment, id, name, status, rate_limit, burst_limit, \
         created_at, updated_at) VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8)",
    )
    .bind(customer.account.to_string())
    .bind(customer.environment.as_str())
    .bind(customer.id.as_str())
    .bind(customer.name.as_str())
    .bind(customer.limits.map(|limits| i64::from(limits.rate)))
    .bind(customer.limits.map(|limits| i64::from(limits.burst)))
    .bind(customer.created_at.0)
    .bind(customer.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Saves an end customer's name.
///
/// # Errors
/// When the database fails; [`StoreError::is_duplicate`] when the name was taken meanwhile.
pub async fn save(tx: &mut Transaction<'static, Any>, customer: &EndCustomer) -> Result<()> {
    sqlx::query(
        "UPDATE end_customers SET name = $4, updated_at = $5 WHERE account_id = $1 AND environment = $2 AND id = $3",
    )
    .bind(customer.account.to_string())
    .bind(customer.environment.as_str())
    .bind(customer.id.as_str())
    .bind(customer.name.as_str())
    .bind(customer.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks an end customer as deleted: its name is free again, its row stays.
///
/// # Errors
/// When the database fails.
pub async fn bury(tx: &mut Transaction<'static, Any>, customer: &EndCustomer, now: UnixMillis) -> Result<()> {
    sqlx::query(
        "UPDATE end_customers SET status = 'deleted', updated_at = $4, deleted_at = $4 \
         WHERE account_id = $1 AND environment = $2 AND id = $3",
    )
    .bind(customer.account.to_string())
    .bind(customer.environment.as_str())
    .bind(customer.id.as_str())
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) fn customer(row: &AnyRow) -> Result<EndCustomer> {
    let rate: Option<i64> = row.try_get("rate_limit")?;
    let burst: Option<i64> = row.try_get("burst_limit")?;
    let limits = match (rate, burst) {
        (Some(rate), Some(burst)) => Some(Limits {
            rate: narrow(rate)?,
            burst: narrow(burst)?,
        }),
        _ => None,
    };
    Ok(EndCustomer {
        account: row
            .try_get::<String, _>("account_id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        environment: environment(&row.try_get::<String, _>("environment")?)?,
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        name: Name::from_stored(row.try_get("name")?),
        limits,
        created_at: UnixMillis(row.try_get("created_at")?),
        updated_at: UnixMillis(row.try_get("updated_at")?),
    })
}
