//! Users of accounts. A deleted one keeps its row, and its `sub` is never given again.

use keyward_contract::{AccountId, UnixMillis, UserId};
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};
use uuid::Uuid;

use super::{Result, StoreError, Tx};
use crate::domain::text::Name;
use crate::domain::user::{Permissions, User};

macro_rules! select_user {
    ($rest:literal) => {
        concat!(
            "SELECT id, account_id, sub, name, email, claims, permissions, created_at, updated_at FROM users ",
            $rest
        )
    };
}

/// The living user whom tokens call this.
///
/// # Errors
/// When the database fails.
pub async fn by_sub(pool: &AnyPool, sub: Uuid) -> Result<Option<User>> {
    let row = sqlx::query(select_user!("WHERE sub = $1 AND deleted_at IS NULL"))
        .bind(sub.to_string())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(user).transpose()
}

/// The living user with this id, of whatever account.
///
/// # Errors
/// When the database fails.
pub async fn by_id(pool: &AnyPool, id: UserId) -> Result<Option<User>> {
    let row = sqlx::query(select_user!("WHERE id = $1 AND deleted_at IS NULL"))
        .bind(id.to_string())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(user).transpose()
}

/// The living user of this account with this id, inside a change.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &mut Tx, account: AccountId, id: UserId) -> Result<Option<User>> {
    let row = sqlx::query(select_user!(
        "WHERE id = $1 AND account_id = $2 AND deleted_at IS NULL"
    ))
    .bind(id.to_string())
    .bind(account.to_string())
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(user).transpose()
}

/// The newest living users of an account, older than `before` (creation and id).
///
/// # Errors
/// When the database fails.
pub async fn list(
    pool: &AnyPool,
    account: AccountId,
    before: Option<(UnixMillis, UserId)>,
    limit: i64,
) -> Result<Vec<User>> {
    let (before_at, before_id) = before.map_or((i64::MAX, String::new()), |(at, id)| (at.0, id.to_string()));
    let rows = sqlx::query(select_user!(
        "WHERE account_id = $1 AND deleted_at IS NULL AND (created_at, id) < ($2, $3) \
         ORDER BY created_at DESC, id DESC LIMIT $4"
    ))
    .bind(account.to_string())
    .bind(before_at)
    .bind(before_id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    rows.iter().map(user).collect()
}

/// Whether anybody of any account has this `sub`, or had it.
///
/// # Errors
/// When the database fails.
pub async fn is_taken(tx: &mut Tx, sub: Uuid) -> Result<bool> {
    Ok(sqlx::query("SELECT id FROM users WHERE sub = $1")
        .bind(sub.to_string())
        .fetch_optional(&mut **tx)
        .await?
        .is_some())
}

/// Stores a new user.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Tx, user: &User) -> Result<()> {
    sqlx::query(
        "INSERT INTO users (id, account_id, sub, name, email, claims, permissions, status, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9)",
    )
    .bind(user.id.to_string())
    .bind(user.account.to_string())
    .bind(user.sub.to_string())
    .bind(user.name.as_str())
    .bind(user.email.as_str())
    .bind(array(&user.claims)?)
    .bind(array(&user.permissions.names())?)
    .bind(user.created_at.0)
    .bind(user.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Saves what can change of a user.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &mut Tx, user: &User) -> Result<()> {
    sqlx::query(
        "UPDATE users SET name = $2, email = $3, claims = $4, permissions = $5, updated_at = $6 WHERE id = $1",
    )
    .bind(user.id.to_string())
    .bind(user.name.as_str())
    .bind(user.email.as_str())
    .bind(array(&user.claims)?)
    .bind(array(&user.permissions.names())?)
    .bind(user.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes a user away for good; its row and its `sub` stay.
///
/// # Errors
/// When the database fails.
pub async fn delete(tx: &mut Tx, id: UserId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE users SET status = 'deleted', updated_at = $2, deleted_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn array<T: serde::Serialize>(texts: &[T]) -> Result<String> {
    serde_json::to_string(texts).map_err(StoreError::corrupt)
}

pub(super) fn user(row: &AnyRow) -> Result<User> {
    let texts = |column: &str| -> Result<Vec<String>> {
        let json: String = row.try_get(column)?;
        serde_json::from_str(&json).map_err(StoreError::corrupt)
    };
    let permissions = texts("permissions")?;
    Ok(User {
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        account: row
            .try_get::<String, _>("account_id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        sub: row
            .try_get::<String, _>("sub")?
            .parse()
            .map_err(StoreError::corrupt)?,
        name: Name::from_stored(row.try_get("name")?),
        email: row.try_get("email")?,
        claims: texts("claims")?,
        permissions: Permissions::among(permissions.iter().map(String::as_str)),
        created_at: UnixMillis(row.try_get("created_at")?),
        updated_at: UnixMillis(row.try_get("updated_at")?),
    })
}
