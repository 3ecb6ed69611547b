//! Account keys and customer keys. Rows are never removed.

use keyward_contract::{AccountId, CustomerId, Environment, KeyDigest, KeyId, KeyMask, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row, Transaction};

use super::records::{address_list, digest, environment, key_state};
use super::{Result, StoreError};
use crate::domain::key::{ApiKey, ApiVersionPin, Origin, state_as_str};
use crate::domain::text::Name;

macro_rules! select_key {
    ($rest:expr) => {
        concat!(
            "SELECT id, number, account_id, environment, customer_id, user_id, origin, name, mask, digest, sealed, ",
            "state, expires_at, allowed_ips, api_version, api_version_changed_at, no_downgrade_after, rotated_at, ",
            "created_by, created_at, updated_at, revoked_at, deleted_at, held_at FROM api_keys ",
            $rest
        )
    };
}

// Below the macro, which it uses.
pub mod pages;

pub(super) use select_key;

/// The key with this digest.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(pool: &AnyPool, digest: KeyDigest) -> Result<Option<ApiKey>> {
    let row = sqlx::query(select_key!("WHERE digest = $1"))
        .bind(digest.as_bytes().to_vec())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(key).transpose()
}

/// The account key of this account with this id, as `on` sees it; customer keys aren't found.
///
/// # Errors
/// When the database fails.
pub async fn account_key<'e>(
    on: impl Executor<'e, Database = Any>,
    account: AccountId,
    id: KeyId,
) -> Result<Option<ApiKey>> {
    let row = sqlx::query(select_key!(
        "WHERE id = $1 AND account_id = $2 AND customer_id IS NULL"
    ))
    .bind(id.to_string())
    .bind(account.to_string())
    .fetch_optional(on)
    .await?;
    row.as_ref().map(key).transpose()
}

/// [`account_key`] as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load_account_key(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    id: KeyId,
) -> Result<Option<ApiKey>> {
    account_key(&mut **tx, account, id).await
}

/// The key with this digest, as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load_by_digest(tx: &mut Transaction<'static, Any>, digest: KeyDigest) -> Result<Option<ApiKey>> {
    let row = sqlx::query(select_key!("WHERE digest = $1"))
        .bind(digest.as_bytes().to_vec())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(key).transpose()
}

/// The key of this account with this id, whether the account's own or an end customer's.
///
/// # Errors
/// When the database fails.
pub async fn load_any(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    id: KeyId,
) -> Result<Option<ApiKey>> {
    let row = sqlx::query(select_key!("WHERE id = $1 AND account_id = $2"))
        .bind(id.to_string())
        .bind(account.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(key).transpose()
}

/// The keys whose number is above `after`, dead ones included, in the order of their numbers.
///
/// # Errors
/// When the database fails.
pub async fn page(tx: &mut Transaction<'static, Any>, after: i64, limit: i64) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query(select_key!("WHERE number > $1 ORDER BY number LIMIT $2"))
        .bind(after)
        .bind(limit)
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(key).collect()
}

/// Every account key of an account, newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_account(pool: &AnyPool, account: AccountId) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query(select_key!(
        "WHERE account_id = $1 AND customer_id IS NULL ORDER BY created_at DESC, number DESC"
    ))
    .bind(account.to_string())
    .fetch_all(pool)
    .await?;
    rows.iter().map(key).collect()
}

/// The id of an account's oldest account key of production that lives now and is no user's.
///
/// # Errors
/// When the database fails.
pub async fn oldest_production_key(
    pool: &AnyPool,
    account: AccountId,
    now: UnixMillis,
) -> Result<Option<String>> {
    let row: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM api_keys WHERE account_id = $1 AND environment = 'production' AND customer_id IS NULL \
         AND user_id IS NULL AND state = 'active' AND (expires_at IS NULL OR expires_at > $2) \
         ORDER BY created_at, number LIMIT 1",
    )
    .bind(account.to_string())
    .bind(now.0)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|(id,)| id))
}

const LIVE_OF_CUSTOMER: &str = select_key!(
    "WHERE account_id = $1 AND environment = $2 AND customer_id = $3 AND state IN ('active', 'disabled') \
     ORDER BY number DESC"
);

/// Every key of an end customer that is not dead for good, newest first.
///
/// # Errors
/// When the database fails.
pub async fn load_of_customer(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    customer: CustomerId,
) -> Result<Vec<ApiKey>> {
    let rows = sqlx::query(LIVE_OF_CUSTOMER)
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(customer.as_str())
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(key).collect()
}

/// The ids of every key that an end customer ever had.
///
/// # Errors
/// When the database fails.
pub async fn ids_of_customer(
    pool: &AnyPool,
    account: AccountId,
    environment: Environment,
    customer: CustomerId,
) -> Result<Vec<KeyId>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT id FROM api_keys WHERE account_id = $1 AND environment = $2 AND customer_id = $3",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(customer.as_str())
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|(id,)| id.parse().map_err(StoreError::corrupt))
        .collect()
}

/// The ids of every key that these end customers ever had, each with its owner. One statement for all of them.
///
/// # Errors
/// When the database fails.
pub async fn ids_of_customers(
    pool: &AnyPool,
    account: AccountId,
    environment: Environment,
    customers: &[CustomerId],
) -> Result<Vec<(KeyId, CustomerId)>> {
    if customers.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (3..customers.len() + 3).map(|n| format!("${n}")).collect();
    let text = format!(
        "SELECT id, customer_id FROM api_keys WHERE account_id = $1 AND environment = $2 AND customer_id IN ({})",
        places.join(", ")
    );
    // Nothing but our own placeholders is put into the text. It is planned for the account that is asked for, each
    // time: a plan that is kept is one for an average account, which has a handful of keys, and looks at all of them.
    let mut query = sqlx::query_as(AssertSqlSafe(text))
        .persistent(false)
        .bind(account.to_string())
        .bind(environment.as_str().to_owned());
    for customer in customers {
        query = query.bind(customer.to_string());
    }
    let rows: Vec<(String, String)> = query.fetch_all(pool).await?;
    rows.into_iter()
        .map(|(key, customer)| {
            Ok((
                key.parse().map_err(StoreError::corrupt)?,
                customer.parse().map_err(StoreError::corrupt)?,
            ))
        })
        .collect()
}

/// The number that the next key gets. The writer's lock keeps it ours until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn next_number(tx: &mut Transaction<'static, Any>) -> Result<i64> {
    let (number,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(number), 0) + 1 FROM api_keys")
        .fetch_one(&mut **tx)
        .await?;
    Ok(number)
}

/// Stores a new key and gives it the next number.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Transaction<'static, Any>, key: &mut ApiKey) -> Result<()> {
    key.number = next_number(tx).await?;
    insert_numbered(tx, key).await
}

/// Stores a new key under the number that it has.
///
/// # Errors
/// When the database fails.
pub async fn insert_numbered(tx: &mut Transaction<'static, Any>, key: &ApiKey) -> Result<()> {
    sqlx::query(
        "INSERT INTO api_keys (id, number, account_id, environment, customer_id, user_id, origin, name, mask, \
         digest, sealed, state, expires_at, allowed_ips, api_version, api_version_changed_at, no_downgrade_after, \
         rotated_at, created_by, created_at, updated_at, revoked_at, deleted_at, held_at) VALUES ($1, $2, $3, $4, $5, $6, \
         $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)",
    )
    .bind(key.id.to_string())
    .bind(key.number)
    .bind(key.account.to_string())
    .bind(key.environment.as_str())
    .bind(key.customer.map(|id| id.to_string()))
    .bind(key.user.map(|id| id.to_string()))
    .bind(key.origin.as_str())
    .bind(key.name.as_ref().map(Name::as_str))
    .bind(key.mask.as_str())
    .bind(key.digest.as_bytes().to_vec())
    .bind(key.sealed.as_deref())
    .bind(state_as_str(key.state))
    .bind(key.expires_at.map(|at| at.0))
    .bind(addresses_text(key)?)
    .bind(key.api_version.version.as_str())
    .bind(key.api_version.changed_at.0)
    .bind(key.api_version.no_downgrade_after.map(|at| at.0))
    .bind(key.rotated_at.map(|at| at.0))
    .bind(key.created_by.as_str())
    .bind(key.created_at.0)
    .bind(key.updated_at.0)
    .bind(key.revoked_at.map(|at| at.0))
    .bind(key.deleted_at.map(|at| at.0))
    .bind(key.held_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Saves what can change of a key: its name, rules, version and life.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &mut Transaction<'static, Any>, key: &ApiKey) -> Result<()> {
    sqlx::query(
        "UPDATE api_keys SET name = $2, state = $3, expires_at = $4, allowed_ips = $5, api_version = $6, \
         api_version_changed_at = $7, no_downgrade_after = $8, rotated_at = $9, updated_at = $10, \
         revoked_at = $11, deleted_at = $12, held_at = $13 WHERE id = $1",
    )
    .bind(key.id.to_string())
    .bind(key.name.as_ref().map(Name::as_str))
    .bind(state_as_str(key.state))
    .bind(key.expires_at.map(|at| at.0))
    .bind(addresses_text(key)?)
    .bind(key.api_version.version.as_str())
    .bind(key.api_version.changed_at.0)
    .bind(key.api_version.no_downgrade_after.map(|at| at.0))
    .bind(key.rotated_at.map(|at| at.0))
    .bind(key.updated_at.0)
    .bind(key.revoked_at.map(|at| at.0))
    .bind(key.deleted_at.map(|at| at.0))
    .bind(key.held_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn addresses_text(key: &ApiKey) -> Result<Option<String>> {
    key.allowed_ips
        .as_ref()
        .map(|list| serde_json::to_string(&list.to_strings()).map_err(StoreError::corrupt))
        .transpose()
}

pub(super) fn key(row: &AnyRow) -> Result<ApiKey> {
    let origin: String = row.try_get("origin")?;
    let customer: Option<String> = row.try_get("customer_id")?;
    Ok(ApiKey {
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        number: row.try_get("number")?,
        account: row
            .try_get::<String, _>("account_id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        environment: environment(&row.try_get::<String, _>("environment")?)?,
        customer: customer
            .map(|id| id.parse().map_err(StoreError::corrupt))
            .transpose()?,
        user: row
            .try_get::<Option<String>, _>("user_id")?
            .map(|id| id.parse().map_err(StoreError::corrupt))
            .transpose()?,
        origin: Origin::from_stored(&origin)
            .ok_or_else(|| StoreError::corrupt(format!("origin `{origin}`")))?,
        name: row.try_get::<Option<String>, _>("name")?.map(Name::from_stored),
        mask: KeyMask::from_stored(row.try_get("mask")?),
        digest: digest(&row.try_get::<Vec<u8>, _>("digest")?)?,
        sealed: row.try_get("sealed")?,
        state: key_state(&row.try_get::<String, _>("state")?)?,
        expires_at: instant(row, "expires_at")?,
        allowed_ips: address_list(row.try_get("allowed_ips")?)?,
        api_version: ApiVersionPin {
            version: row.try_get("api_version")?,
            changed_at: UnixMillis(row.try_get("api_version_changed_at")?),
            no_downgrade_after: instant(row, "no_downgrade_after")?,
        },
        rotated_at: instant(row, "rotated_at")?,
        held_at: instant(row, "held_at")?,
        created_by: row.try_get("created_by")?,
        created_at: UnixMillis(row.try_get("created_at")?),
        updated_at: UnixMillis(row.try_get("updated_at")?),
        revoked_at: instant(row, "revoked_at")?,
        deleted_at: instant(row, "deleted_at")?,
    })
}

pub(super) fn instant(row: &AnyRow, column: &str) -> Result<Option<UnixMillis>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(UnixMillis))
}
