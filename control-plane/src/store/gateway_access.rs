//! Which gateways may come in, with what, and what they are sent.
//!
//! Every change moves a version, so that whoever keeps all of it in memory sees with one small read whether that is
//! current; on PostgreSQL it is told of as well.

use std::collections::BTreeSet;

use keyward_contract::{AccountId, Environment, KeyDigest, KeyId, KeyMask, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{AnyPool, Row};

use super::keys::instant;
use super::records::digest;
use super::{Engine, Result, StoreError, Tx};
use crate::domain::gateway::{GatewayId, GatewaySettings, GatewayToken};
use crate::domain::text::Name;

/// Where changes are told of on PostgreSQL; the payload means nothing.
pub const CHANGED: &str = "keyward_gateway_access";

macro_rules! select_token {
    ($rest:literal) => {
        concat!(
            "SELECT id, gateway_id, name, mask, digest, created_at, expires_at, revoked_at, last_used_at ",
            "FROM gateway_tokens ",
            $rest
        )
    };
}

/// Moves with every change.
///
/// # Errors
/// When the database fails.
pub async fn version(pool: &AnyPool) -> Result<i64> {
    let (version,): (i64,) = sqlx::query_as("SELECT version FROM gateway_access WHERE id = 1")
        .fetch_one(pool)
        .await?;
    Ok(version)
}

/// Says inside a change that it is one of these.
///
/// # Errors
/// When the database fails.
pub async fn moved(tx: &mut Tx) -> Result<()> {
    sqlx::query("UPDATE gateway_access SET version = version + 1 WHERE id = 1")
        .execute(&mut **tx)
        .await?;
    if Engine::of(tx) == Engine::Postgres {
        sqlx::query("SELECT pg_notify($1, '')")
            .bind(CHANGED)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Every gateway's settings.
///
/// # Errors
/// When the database fails.
pub async fn all_settings(pool: &AnyPool) -> Result<Vec<(GatewayId, GatewaySettings)>> {
    let rows = sqlx::query("SELECT id, blocked, accounts, environment, updated_at FROM gateway_settings")
        .fetch_all(pool)
        .await?;
    rows.iter().map(settings).collect()
}

/// A gateway's settings; `None` when none were made.
///
/// # Errors
/// When the database fails.
pub async fn settings_of<'e>(
    executor: impl sqlx::Executor<'e, Database = sqlx::Any>,
    gateway: &GatewayId,
) -> Result<Option<GatewaySettings>> {
    let row = sqlx::query(
        "SELECT id, blocked, accounts, environment, updated_at FROM gateway_settings WHERE id = $1",
    )
    .bind(gateway.to_string())
    .fetch_optional(executor)
    .await?;
    row.as_ref().map(|row| Ok(settings(row)?.1)).transpose()
}

/// Keeps a gateway's settings.
///
/// # Errors
/// When the database fails.
pub async fn save_settings(
    tx: &mut Tx,
    gateway: &GatewayId,
    settings: &GatewaySettings,
    now: UnixMillis,
) -> Result<()> {
    let accounts = settings.accounts.as_ref().map(serde_json::to_string).transpose();
    sqlx::query(
        "INSERT INTO gateway_settings (id, blocked, accounts, environment, updated_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (id) DO UPDATE SET blocked = excluded.blocked, accounts = excluded.accounts, \
         environment = excluded.environment, updated_at = excluded.updated_at",
    )
    .bind(gateway.to_string())
    .bind(i64::from(settings.blocked))
    .bind(accounts.map_err(StoreError::corrupt)?)
    .bind(settings.environment.map(Environment::as_str))
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    moved(tx).await
}

/// Every token that was not revoked.
///
/// # Errors
/// When the database fails.
pub async fn all_tokens(pool: &AnyPool) -> Result<Vec<GatewayToken>> {
    let rows = sqlx::query(select_token!("WHERE revoked_at IS NULL"))
        .fetch_all(pool)
        .await?;
    rows.iter().map(token).collect()
}

/// A gateway's tokens that were not revoked, newest first.
///
/// # Errors
/// When the database fails.
pub async fn tokens_of(pool: &AnyPool, gateway: &GatewayId) -> Result<Vec<GatewayToken>> {
    let rows = sqlx::query(select_token!(
        "WHERE gateway_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC, id DESC"
    ))
    .bind(gateway.to_string())
    .fetch_all(pool)
    .await?;
    rows.iter().map(token).collect()
}

/// How many tokens of a gateway live.
///
/// # Errors
/// When the database fails.
pub async fn living_tokens(tx: &mut Tx, gateway: &GatewayId, now: UnixMillis) -> Result<i64> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM gateway_tokens WHERE gateway_id = $1 AND revoked_at IS NULL \
         AND (expires_at IS NULL OR expires_at > $2)",
    )
    .bind(gateway.to_string())
    .bind(now.0)
    .fetch_one(&mut **tx)
    .await?;
    Ok(count)
}

/// The token with this id, revoked or not.
///
/// # Errors
/// When the database fails.
pub async fn load_token(tx: &mut Tx, id: KeyId) -> Result<Option<GatewayToken>> {
    let row = sqlx::query(select_token!("WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(token).transpose()
}

/// The token with this digest, revoked or not.
///
/// # Errors
/// When the database fails.
pub async fn load_token_by_digest(tx: &mut Tx, digest: KeyDigest) -> Result<Option<GatewayToken>> {
    let row = sqlx::query(select_token!("WHERE digest = $1"))
        .bind(digest.as_bytes().to_vec())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(token).transpose()
}

/// Stores a new token.
///
/// # Errors
/// When the database fails.
pub async fn insert_token(tx: &mut Tx, token: &GatewayToken) -> Result<()> {
    sqlx::query(
        "INSERT INTO gateway_tokens (id, gateway_id, name, mask, digest, created_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(token.id.to_string())
    .bind(token.gateway.to_string())
    .bind(token.name.as_ref().map(Name::as_str))
    .bind(token.mask.as_str())
    .bind(token.digest.as_bytes().to_vec())
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|at| at.0))
    .execute(&mut **tx)
    .await?;
    moved(tx).await
}

/// Kills a token for good.
///
/// # Errors
/// When the database fails.
pub async fn revoke_token(tx: &mut Tx, id: KeyId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE gateway_tokens SET revoked_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    moved(tx).await
}

/// Notes that a stream was opened with a token.
///
/// # Errors
/// When the database fails.
pub async fn touch_token(tx: &mut Tx, id: KeyId, now: UnixMillis) -> Result<()> {
    sqlx::query("UPDATE gateway_tokens SET last_used_at = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn settings(row: &AnyRow) -> Result<(GatewayId, GatewaySettings)> {
    let accounts: Option<String> = row.try_get("accounts")?;
    let environment: Option<String> = row.try_get("environment")?;
    let settings = GatewaySettings {
        blocked: row.try_get::<i64, _>("blocked")? != 0,
        accounts: accounts.as_deref().map(accounts_from_stored).transpose()?,
        environment: environment
            .map(|text| {
                text.parse::<Environment>()
                    .map_err(|()| StoreError::corrupt(format!("environment `{text}`")))
            })
            .transpose()?,
        updated_at: instant(row, "updated_at")?,
    };
    Ok((gateway_id(row, "id")?, settings))
}

fn accounts_from_stored(text: &str) -> Result<BTreeSet<AccountId>> {
    let ids: Vec<String> = serde_json::from_str(text).map_err(StoreError::corrupt)?;
    let ids = ids.iter().map(|id| id.parse::<AccountId>());
    ids.collect::<std::result::Result<_, _>>()
        .map_err(StoreError::corrupt)
}

fn gateway_id(row: &AnyRow, column: &str) -> Result<GatewayId> {
    let id: String = row.try_get(column)?;
    id.parse().map_err(StoreError::corrupt)
}

fn token(row: &AnyRow) -> Result<GatewayToken> {
    Ok(GatewayToken {
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        gateway: gateway_id(row, "gateway_id")?,
        name: row.try_get::<Option<String>, _>("name")?.map(Name::from_stored),
        mask: KeyMask::from_stored(row.try_get("mask")?),
        digest: digest(&row.try_get::<Vec<u8>, _>("digest")?)?,
        created_at: UnixMillis(row.try_get("created_at")?),
        expires_at: instant(row, "expires_at")?,
        revoked_at: instant(row, "revoked_at")?,
        last_used_at: instant(row, "last_used_at")?,
    })
}
