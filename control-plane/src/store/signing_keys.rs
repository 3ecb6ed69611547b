//! The keys that sign our own tokens, sealed.

use keyward_contract::UnixMillis;
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};

use super::{Purpose, Result, Store};

/// A stored key.
#[derive(Clone, Debug)]
pub struct SealedKey {
    /// Its place in the order of keys.
    pub number: i64,
    /// Its id.
    pub id: String,
    /// Its secret, sealed for its id.
    pub sealed: Vec<u8>,
    /// From when on it signs.
    pub signs_from: UnixMillis,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// Every key, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn all(pool: &AnyPool) -> Result<Vec<SealedKey>> {
    let rows =
        sqlx::query("SELECT number, kid, sealed, signs_from, created_at FROM signing_keys ORDER BY number")
            .fetch_all(pool)
            .await?;
    rows.iter().map(key).collect()
}

/// The key with this id.
///
/// # Errors
/// When the database fails.
pub async fn by_id(pool: &AnyPool, id: &str) -> Result<Option<SealedKey>> {
    let row =
        sqlx::query("SELECT number, kid, sealed, signs_from, created_at FROM signing_keys WHERE kid = $1")
            .bind(id)
            .fetch_optional(pool)
            .await?;
    row.as_ref().map(key).transpose()
}

/// Stores a key, unless another control plane has taken its number meanwhile. Says whether it was stored.
///
/// # Errors
/// When the database fails.
pub async fn insert(store: &Store, key: &SealedKey) -> Result<bool> {
    let mut tx = store.begin(Purpose::Other).await?;
    let inserted = sqlx::query(
        "INSERT INTO signing_keys (number, kid, sealed, signs_from, created_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (number) DO NOTHING",
    )
    .bind(key.number)
    .bind(key.id.as_str())
    .bind(key.sealed.as_slice())
    .bind(key.signs_from.0)
    .bind(key.created_at.0)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(inserted.rows_affected() == 1)
}

/// Removes every key before this one: what they signed has ended.
///
/// # Errors
/// When the database fails.
pub async fn remove_before(store: &Store, number: i64) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query("DELETE FROM signing_keys WHERE number < $1")
        .bind(number)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

fn key(row: &AnyRow) -> Result<SealedKey> {
    Ok(SealedKey {
        number: row.try_get("number")?,
        id: row.try_get("kid")?,
        sealed: row.try_get("sealed")?,
        signs_from: UnixMillis(row.try_get("signs_from")?),
        created_at: UnixMillis(row.try_get("created_at")?),
    })
}
