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
