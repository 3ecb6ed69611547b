//! What imports need beyond the stores of what they make: the names that a source gave, how far a file was taken, and
//! rows that are stored with a past. Every look-up is by a primary key or a unique one.

use keyward_contract::{
    AccountId, CustomerId, Environment, EnvironmentId, KeyId, Limits, UnixMillis, UserId,
};
use sqlx::Row;
use uuid::Uuid;

use super::records::narrow;
use super::{Result, Store, StoreError, Tx, customers};
use crate::domain::customer::EndCustomer;
use crate::domain::user::User;

/// A name that a source gave to something: its kind, inside what it is unique, and the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `customer`, `user`, `end_customer` or `api_key`.
    pub kind: &'static str,
    /// Nothing, an account, or an environment of one.
    pub scope: String,
    /// The name.
    pub name: String,
}

/// Our own id of what a source named.
///
/// # Errors
/// When the database fails.
pub async fn named(tx: &mut Tx, reference: &Reference) -> Result<Option<String>> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT id FROM import_refs WHERE kind = $1 AND scope = $2 AND ref = $3")
            .bind(reference.kind)
            .bind(reference.scope.as_str())
            .bind(reference.name.as_str())
            .fetch_optional(&mut **tx)
            .await?;
    Ok(row.map(|(id,)| id))
}

/// Remembers what a source named.
///
/// # Errors
/// When the database fails.
pub async fn remember(tx: &mut Tx, reference: &Reference, id: &str, now: UnixMillis) -> Result<()> {
    sqlx::query("INSERT INTO import_refs (kind, scope, ref, id, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(reference.kind)
        .bind(reference.scope.as_str())
        .bind(reference.name.as_str())
        .bind(id)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// How far a file was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its path.
    pub file: String,
    /// Its lines that were taken.
    pub lines: u64,
    /// Its bytes that were taken.
    pub bytes: u64,
    /// SHA-256 over them, in hex.
    pub hash: String,
}

/// How far a file was taken; `None` when it never was.
///
/// # Errors
/// When the database fails.
pub async fn progress(store: &Store, file: &str) -> Result<Option<Progress>> {
    let row: Option<(i64, i64, String)> =
        sqlx::query_as("SELECT taken_lines, taken_bytes, hash FROM import_progress WHERE file = $1")
            .bind(file)
            .fetch_optional(store.readers())
            .await?;
    row.map(|(lines, bytes, hash)| {
        Ok(Progress {
            file: file.to_owned(),
            lines: narrow(lines)?,
            bytes: narrow(bytes)?,
            hash,
        })
    })
    .transpose()
}

/// Notes how far a file was taken.
///
/// # Errors
/// When the database fails.
pub async fn save_progress(tx: &mut Tx, progress: &Progress, now: UnixMillis) -> Result<()> {
    let wide = |number: u64| i64::try_from(number).map_err(StoreError::corrupt);
    sqlx::query(
        "INSERT INTO import_progress (file, taken_lines, taken_bytes, hash, updated_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (file) DO UPDATE SET taken_lines = excluded.taken_lines, taken_bytes = excluded.taken_bytes, \
         hash = excluded.hash, updated_at = excluded.updated_at",
    )
    .bind(progress.file.as_str())
    .bind(wide(progress.lines)?)
    .bind(wide(progress.bytes)?)
    .bind(progress.hash.as_str())
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether an environment of any account has this id.
///
/// # Errors
/// When the database fails.
pub async fn environment_is_taken(tx: &mut Tx, id: EnvironmentId) -> Result<bool> {
    let row = sqlx::query("SELECT id FROM environments WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Whether a key of any account has this id.
///
/// # Errors
/// When the database fails.
pub async fn key_id_is_taken(tx: &mut Tx, id: KeyId) -> Result<bool> {
    let row = sqlx::query("SELECT id FROM api_keys WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// An end customer, living or not.
#[derive(Clone, Copy, Debug)]
pub struct Remains {
    /// Its id.
    pub id: CustomerId,
    /// Whether it is deleted.
    pub deleted: bool,
    /// A lower limit than the account's.
    pub limits: Option<Limits>,
}

/// The end customer with this id, living or not.
///
/// # Errors
/// When the database fails.
pub async fn end_customer(
    tx: &mut Tx,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<Option<Remains>> {
    let row = sqlx::query(
        "SELECT status, rate_limit, burst_limit FROM end_customers \
         WHERE account_id = $1 AND environment = $2 AND id = $3",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(id.as_str())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let rate: Option<i64> = row.try_get("rate_limit")?;
    let burst: Option<i64> = row.try_get("burst_limit")?;
    let limits = match (rate, burst) {
        (Some(rate), Some(burst)) => Some(Limits {
            rate: narrow(rate)?,
            burst: narrow(burst)?,
        }),
        _ => None,
    };
    Ok(Some(Remains {
        id,
        deleted: row.try_get::<String, _>("status")? != "active",
        limits,
    }))
}

/// Stores an end customer, with its end when it has one.
///
/// # Errors
/// When the database fails.
pub async fn insert_end_customer(
    tx: &mut Tx,
    customer: &EndCustomer,
    deleted_at: Option<UnixMillis>,
) -> Result<()> {
    if deleted_at.is_none() {
        customers::count_in(tx, customer).await?;
    }
    sqlx::query(
        "INSERT INTO end_customers (account_id, environment, id, name, status, rate_limit, burst_limit, \
         created_at, updated_at, deleted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(customer.account.to_string())
    .bind(customer.environment.as_str())
    .bind(customer.id.as_str())
    .bind(customer.name.as_str())
    .bind(if deleted_at.is_some() { "deleted" } else { "active" })
    .bind(customer.limits.map(|limits| i64::from(limits.rate)))
    .bind(customer.limits.map(|limits| i64::from(limits.burst)))
    .bind(customer.created_at.0)
    .bind(customer.updated_at.0)
    .bind(deleted_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whose user this is, living or not.
///
/// # Errors
/// When the database fails.
pub async fn account_of_user(tx: &mut Tx, id: UserId) -> Result<Option<AccountId>> {
    let row: Option<(String,)> = sqlx::query_as("SELECT account_id FROM users WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|(account,)| account.parse().map_err(StoreError::corrupt))
        .transpose()
}

/// Whether tokens call, or ever called, any user this.
///
/// # Errors
/// When the database fails.
pub async fn sub_is_taken(tx: &mut Tx, sub: Uuid) -> Result<bool> {
    let row = sqlx::query("SELECT id FROM users WHERE sub = $1")
        .bind(sub.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Stores a user, with its end when it has one.
///
/// # Errors
/// When the database fails.
pub async fn insert_user(tx: &mut Tx, user: &User, deleted_at: Option<UnixMillis>) -> Result<()> {
    let text = |value: &[String]| serde_json::to_string(value).map_err(StoreError::corrupt);
    let permissions: Vec<String> = user.permissions.names().into_iter().map(str::to_owned).collect();
    sqlx::query(
        "INSERT INTO users (id, account_id, sub, name, email, claims, status, created_at, permissions, updated_at, \
         deleted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(user.id.to_string())
    .bind(user.account.to_string())
    .bind(user.sub.to_string())
    .bind(user.name.as_str())
    .bind(user.email.as_str())
    .bind(text(&user.claims)?)
    .bind(if deleted_at.is_some() { "deleted" } else { "active" })
    .bind(user.created_at.0)
    .bind(text(&permissions)?)
    .bind(user.updated_at.0)
    .bind(deleted_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
