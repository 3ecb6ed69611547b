//! Operators' keys.

use keyward_contract::{KeyDigest, KeyId, KeyMask, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use super::keys::instant;
use super::records::digest;
use super::{Result, StoreError};
use crate::domain::admin::{AdminKey, Role};
use crate::domain::text::Name;

macro_rules! select_admin_key {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, role, mask, digest, created_at, revoked_at, last_used_at FROM admin_keys ",
            $rest
        )
    };
}

/// The admin key with this digest.
///
/// # Errors
/// When the database fails.
pub async fn by_digest(pool: &AnyPool, digest: KeyDigest) -> Result<Option<AdminKey>> {
    let row = sqlx::query(select_admin_key!("WHERE digest = $1"))
        .bind(digest.as_bytes().to_vec())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(admin_key).transpose()
}

/// The admin key with this digest, as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load_by_digest(
    tx: &mut Transaction<'static, Any>,
    digest: KeyDigest,
) -> Result<Option<AdminKey>> {
    let row = sqlx::query(select_admin_key!("WHERE digest = $1"))
        .bind(digest.as_bytes().to_vec())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(admin_key).transpose()
}

/// The admin key with this id.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &mut Transaction<'static, Any>, id: KeyId) -> Result<Option<AdminKey>> {
    let row = sqlx::query(select_admin_key!("WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(admin_key).transpose()
}

/// Every admin key, revoked ones included, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &AnyPool) -> Result<Vec<AdminKey>> {
    let rows = sqlx::query(select_admin_key!("ORDER BY created_at DESC, id DESC"))
        .fetch_all(pool)
        .await?;
    rows.iter().map(admin_key).collect()
}

/// Whether there is any admin key at all.
///
/// # Errors
/// When the database fails.
pub async fn any(tx: &mut Transaction<'static, Any>) -> Result<bool> {
    Ok(sqlx::query("SELECT id FROM admin_keys LIMIT 1")
        .fetch_optional(&mut **tx)
        .await?
        .is_some())
}

/// How many owners could sign in.
///
/// # Errors
/// When the database fails.
pub async fn live_owners(tx: &mut Transaction<'static, Any>) -> Result<i64> {
    let (count,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM admin_keys WHERE role = 'owner' AND state = 'active'")
            .fetch_one(&mut **tx)
            .await?;
    Ok(count)
}

/// Stores a new admin key.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Transaction<'static, Any>, key: &AdminKey) -> Result<()> {
    sqlx::query(
        "INSERT INTO admin_keys (id, name, role, mask, digest, state, created_at) \
         VALUES ($1, $2, $3, $4, $5, 'active', $6)",
    )
    .bind(key.id.to_string())
    .bind(key.name.as_str())
    .bind(key.role.as_str())
    .bind(key.mask.as_str())
    .bind(key.digest.as_bytes().to_vec())
    .bind(key.created_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Kills an admin key for good.
///
/// # Errors
/// When the database fails.
pub async fn revoke(tx: &mut Transaction<'static, Any>, id: KeyId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE admin_keys SET state = 'revoked', revoked_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes that an admin key was presented.
///
/// # Errors
/// When the database fails.
pub async fn touch(tx: &mut Transaction<'static, Any>, id: KeyId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE admin_keys SET last_used_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn admin_key(row: &AnyRow) -> Result<AdminKey> {
    let role: String = row.try_get("role")?;
    Ok(AdminKey {
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        name: Name::from_stored(row.try_get("name")?),
        role: Role::from_stored(&role).ok_or_else(|| StoreError::corrupt(format!("role `{role}`")))?,
        mask: KeyMask::from_stored(row.try_get("mask")?),
        digest: digest(&row.try_get::<Vec<u8>, _>("digest")?)?,
        created_at: UnixMillis(row.try_get("created_at")?),
        revoked_at: instant(row, "revoked_at")?,
        last_used_at: instant(row, "last_used_at")?,
    })
}
