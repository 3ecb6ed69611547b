//! Answers kept for `Idempotency-Key`, sealed, for as long as they are good.

use keyward_contract::UnixMillis;
use sqlx::{Any, Row, Transaction};

use super::{Purpose, Result, Store};

/// A call that was made before under the same scope and key.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// A keyed hash of its body.
    pub body_hash: Vec<u8>,
    /// Its sealed answer; `None` while it runs.
    pub answer: Option<Vec<u8>>,
    /// How it stands without an answer.
    pub standing: Standing,
}

/// How a call without an answer stands. Stored in the place of the answer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Running,
    /// It changed something and ended without an answer.
    Lost,
}

/// Stored for a call that runs and has committed its change.
const ACTED: i64 = 0;
/// Stored for a call that has committed its change and will never be answered.
const LOST: i64 = 1;

/// Forgets every call that began before `until`.
///
/// # Errors
/// When the database fails.
pub async fn forget_before(tx: &mut Transaction<'static, Any>, until: UnixMillis) -> Result<()> {
    sqlx::query("DELETE FROM idempotency WHERE created_at < $1")
        .bind(until.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Forgets the calls that a process which is no more left running, so that they can be made again.
///
/// # Errors
/// When the database fails.
pub async fn forget_unfinished(store: &Store) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query("DELETE FROM idempotency WHERE answer IS NULL AND status IS NULL")
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE idempotency SET status = $1 WHERE answer IS NULL")
        .bind(LOST)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// The call made before, if there was one.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &mut Transaction<'static, Any>, scope: &str, key: &str) -> Result<Option<Earlier>> {
    let row = sqlx::query("SELECT body_hash, answer, status FROM idempotency WHERE scope = $1 AND key = $2")
        .bind(scope)
        .bind(key)
        .fetch_optional(&mut **tx)
        .await?;
    row.map(|row| {
        Ok(Earlier {
            body_hash: row.try_get("body_hash")?,
            answer: row.try_get("answer")?,
            standing: match row.try_get::<Option<i64>, _>("status")? {
                Some(LOST) => Standing::Lost,
                _ => Standing::Running,
            },
        })
    })
    .transpose()
}

/// Notes that a call runs.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    tx: &mut Transaction<'static, Any>,
    scope: &str,
    key: &str,
    body_hash: &[u8],
    now: UnixMillis,
) -> Result<()> {
    sqlx::query("INSERT INTO idempotency (scope, key, body_hash, created_at) VALUES ($1, $2, $3, $4)")
        .bind(scope)
        .bind(key)
        .bind(body_hash)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes, inside its change's transaction, that a call acted.
///
/// # Errors
/// When the database fails.
pub async fn mark_acted(tx: &mut Transaction<'static, Any>, scope: &str, key: &str) -> Result<()> {
    sqlx::query("UPDATE idempotency SET status = $3 WHERE scope = $1 AND key = $2")
        .bind(scope)
        .bind(key)
        .bind(ACTED)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Keeps a call's answer.
///
/// # Errors
/// When the database fails.
pub async fn keep(store: &Store, scope: &str, key: &str, status: u16, answer: &[u8]) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query("UPDATE idempotency SET status = $3, answer = $4 WHERE scope = $1 AND key = $2")
        .bind(scope)
        .bind(key)
        .bind(i64::from(status))
        .bind(answer)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Forgets a call that failed on our side, so that it can be made again; one that acted nevertheless is lost.
///
/// # Errors
/// When the database fails.
pub async fn forget(store: &Store, scope: &str, key: &str) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query("DELETE FROM idempotency WHERE scope = $1 AND key = $2 AND status IS NULL")
        .bind(scope)
        .bind(key)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE idempotency SET status = $3 WHERE scope = $1 AND key = $2")
        .bind(scope)
        .bind(key)
        .bind(LOST)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
