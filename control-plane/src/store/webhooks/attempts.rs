//! Taking deliveries that are due, and noting what came of them.
//!
//! Several control planes share the work by leases: taking a delivery moves its `due_at` to the lease's end in a
//! statement that only one of them can win. Who dies with a delivery in hand loses it when the lease ends: it is
//! tried again, never forgotten. Who comes back after its lease was taken over decides nothing any more.

use keyward_contract::UnixMillis;
use sqlx::Row;

use super::deliveries::{Attempt, State};
use crate::domain::webhook::{DeliveryId, WebhookId};
use crate::store::{Purpose, Result, Store, StoreError};

/// How long an attempt may take before another control plane makes the next one.
pub const LEASE_MS: i64 = 30_000;

/// A delivery that is ours to try, until its lease ends.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its id.
    pub id: DeliveryId,
    /// What makes it ours.
    pub lease: String,
    /// The message's id.
    pub message_id: String,
    /// What is signed and sent.
    pub body: String,
    /// Which of its attempts this is, from one.
    pub number: i64,
    /// Which attempt since it was made or replayed, from one.
    pub tries: i64,
    /// When it is tried no more.
    pub give_up_at: UnixMillis,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was taken.
    Delivered,
    /// It is tried no more.
    Failed,
    /// It is tried again at this instant.
    Again(UnixMillis),
}

/// The active webhooks that have deliveries due: one look into an index.
///
/// # Errors
/// When the database fails.
pub async fn webhooks_due(store: &Store, now: UnixMillis) -> Result<Vec<WebhookId>> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT w.id FROM webhooks w WHERE w.status = 'active' AND EXISTS (SELECT 1 FROM webhook_deliveries d \
         WHERE d.webhook_id = w.id AND d.state = 'pending' AND d.due_at <= $1)",
    )
    .bind(now.0)
    .fetch_all(store.readers())
    .await?;
    rows.into_iter()
        .map(|(id,)| id.parse().map_err(StoreError::corrupt))
        .collect()
}

/// Takes at most `limit` of a webhook's due deliveries, those that have waited longest first.
///
/// # Errors
/// When the database fails.
pub async fn take(store: &Store, webhook: WebhookId, now: UnixMillis, limit: i64) -> Result<Vec<Taken>> {
    let mut tx = store.begin(Purpose::Other).await?;
    let rows = sqlx::query(
        "SELECT d.id, d.event_id, d.attempts, d.tries, d.due_at, d.give_up_at, e.body FROM webhook_deliveries d \
         JOIN webhook_events e ON e.id = d.event_id \
         WHERE d.webhook_id = $1 AND d.state = 'pending' AND d.due_at <= $2 ORDER BY d.due_at, d.id LIMIT $3",
    )
    .bind(webhook.to_string())
    .bind(now.0)
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in rows {
        let id: String = row.try_get("id")?;
        let lease = uuid::Uuid::now_v7().to_string();
        let won = sqlx::query(
            "UPDATE webhook_deliveries SET due_at = $3, lease = $4, attempts = attempts + 1, tries = tries + 1 \
             WHERE id = $1 AND state = 'pending' AND due_at = $2",
        )
        .bind(id.as_str())
        .bind(row.try_get::<i64, _>("due_at")?)
        .bind(now.0.saturating_add(LEASE_MS))
        .bind(lease.as_str())
        .execute(&mut *tx)
        .await?;
        if won.rows_affected() == 1 {
            taken.push(Taken {
                id: id.parse().map_err(StoreError::corrupt)?,
                lease,
                message_id: row.try_get("event_id")?,
                body: row.try_get("body")?,
                number: row.try_get::<i64, _>("attempts")? + 1,
                tries: row.try_get::<i64, _>("tries")? + 1,
                give_up_at: UnixMillis(row.try_get("give_up_at")?),
            });
        }
    }
    tx.commit().await?;
    Ok(taken)
}

/// Notes an attempt and what becomes of its delivery; `false` when it was no longer ours.
///
/// # Errors
/// When the database fails.
pub async fn finish(store: &Store, taken: &Taken, attempt: &Attempt, next: Next) -> Result<bool> {
    let (state, due_at) = match next {
        Next::Delivered => (State::Delivered, attempt.at),
        Next::Failed => (State::Failed, attempt.at),
        Next::Again(at) => (State::Pending, at),
    };
    let mut tx = store.begin(Purpose::Other).await?;
    let finished = sqlx::query(
        "UPDATE webhook_deliveries SET state = $3, due_at = $4, lease = NULL WHERE id = $1 AND lease = $2",
    )
    .bind(taken.id.to_string())
    .bind(taken.lease.as_str())
    .bind(state.as_str())
    .bind(due_at.0)
    .execute(&mut *tx)
    .await?;
    if finished.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO webhook_attempts (delivery_id, number, at, duration_ms, status, error) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(taken.id.to_string())
    .bind(taken.number)
    .bind(attempt.at.0)
    .bind(attempt.duration_ms)
    .bind(attempt.status)
    .bind(attempt.error.as_deref())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// Ends the deliveries whose time is over without an attempt under way, such as those of a webhook that is disabled;
/// answers how many.
///
/// # Errors
/// When the database fails.
pub async fn give_up_late(store: &Store, now: UnixMillis) -> Result<u64> {
    let mut tx = store.begin(Purpose::Other).await?;
    let ended = sqlx::query(
        "UPDATE webhook_deliveries SET state = 'failed' WHERE state = 'pending' AND give_up_at <= $1 \
         AND (lease IS NULL OR due_at <= $1)",
    )
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(ended.rows_affected())
}
