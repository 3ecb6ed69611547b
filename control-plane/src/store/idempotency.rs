//! Answers kept for `Idempotency-Key`, sealed, for as long as they are good.

use keyward_contract::UnixMillis;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::{Engine, Purpose, Result, Store, StoreError};

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

/// Forgets the calls that control planes which are no more left running, so that they can be made again. On SQLite that
/// is every other one than this.
///
/// Should one of those be alive after all, none of its calls acts any more: see [`mark_acted`].
///
/// # Errors
/// When the database fails.
pub async fn forget_abandoned(store: &Store, control_plane: &str) -> Result<()> {
    let whose = match store.engine() {
        Engine::Sqlite => "control_plane <> $1",
        Engine::Postgres => {
            "control_plane <> $1 AND NOT EXISTS (SELECT 1 FROM control_planes c \
             WHERE c.id = idempotency.control_plane \
             AND c.renewed_at > CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) - 10000)"
        }
    };
    let statements = [
        format!("DELETE FROM idempotency WHERE answer IS NULL AND status IS NULL AND {whose}"),
        format!(
            "UPDATE idempotency SET status = {LOST} WHERE answer IS NULL AND status = {ACTED} AND {whose}"
        ),
    ];
    let mut tx = store.begin(Purpose::Other).await?;
    for statement in statements {
        // Made of this module's own words.
        sqlx::query(AssertSqlSafe(statement))
            .bind(control_plane)
            .execute(&mut *tx)
            .await?;
    }
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

/// A call that is to run: under which scope and key, and whose it is.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Credential, method and path.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// This call's own name.
    pub claim: String,
}

/// Notes that a call runs on this control plane; `false` when one is noted already under its scope and key, whichever
/// control plane noted it.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    tx: &mut Transaction<'static, Any>,
    call: &Claimed,
    control_plane: &str,
    body_hash: &[u8],
    now: UnixMillis,
) -> Result<bool> {
    // Waits for another's transaction with the same key, and sees what came of it.
    let inserted = sqlx::query(
        "INSERT INTO idempotency (scope, key, claim, control_plane, body_hash, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, key) DO NOTHING",
    )
    .bind(call.scope.as_str())
    .bind(call.key.as_str())
    .bind(call.claim.as_str())
    .bind(control_plane)
    .bind(body_hash)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Notes, inside its change's transaction, that a call acted.
///
/// # Errors
/// When the database fails, and when the call is no longer known: its control plane was taken for dead, and another one
/// may have made the call. The transaction must then be dropped, so that nothing happens twice.
pub async fn mark_acted(tx: &mut Transaction<'static, Any>, call: &Claimed) -> Result<()> {
    let marked =
        sqlx::query("UPDATE idempotency SET status = $4 WHERE scope = $1 AND key = $2 AND claim = $3")
            .bind(call.scope.as_str())
            .bind(call.key.as_str())
            .bind(call.claim.as_str())
            .bind(ACTED)
            .execute(&mut **tx)
            .await?;
    if marked.rows_affected() == 1 {
        Ok(())
    } else {
        Err(StoreError::overtaken())
    }
}

/// Keeps a call's answer.
///
/// # Errors
/// When the database fails.
pub async fn keep(store: &Store, call: &Claimed, status: u16, answer: &[u8]) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query(
        "UPDATE idempotency SET status = $4, answer = $5 WHERE scope = $1 AND key = $2 AND claim = $3",
    )
    .bind(call.scope.as_str())
    .bind(call.key.as_str())
    .bind(call.claim.as_str())
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
pub async fn forget(store: &Store, call: &Claimed) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    for statement in [
        "DELETE FROM idempotency WHERE scope = $1 AND key = $2 AND claim = $3 AND status IS NULL",
        // 1 is `LOST`.
        "UPDATE idempotency SET status = 1 WHERE scope = $1 AND key = $2 AND claim = $3",
    ] {
        sqlx::query(statement)
            .bind(call.scope.as_str())
            .bind(call.key.as_str())
            .bind(call.claim.as_str())
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}
