//! Messages and their deliveries, as operators see and replay them.

use std::collections::HashMap;

use keyward_contract::UnixMillis;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use crate::domain::webhook::{DeliveryId, EventKind, KEPT_FOR, TRIED_FOR, WebhookId};
use crate::store::{Purpose, Result, Store, StoreError};

const EVENTS_AT_ONCE: i64 = 500;

/// Something to tell.
#[derive(Clone, Debug)]
pub struct Message {
    /// What receivers get as `webhook-id`.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: UnixMillis,
    /// The very text that is signed and sent.
    pub body: String,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is tried, now or later.
    Pending,
    /// It was taken.
    Delivered,
    /// It is tried no more.
    Failed,
}

impl State {
    const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One message's way to one webhook.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The message's id.
    pub message_id: String,
    /// The message's type.
    pub kind: String,
    /// How far it has come.
    pub state: State,
    /// When the next attempt is due, while it is pending.
    pub due_at: UnixMillis,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt that came to an end.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub at: UnixMillis,
    /// How long it took.
    pub duration_ms: i64,
    /// The answer's status, if there was an answer.
    pub status: Option<i64>,
    /// Why there was none.
    pub error: Option<String>,
}

/// Which deliveries a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<State>,
    /// Older than this one.
    pub before: Option<(UnixMillis, DeliveryId)>,
}

/// Adds a message, inside the transaction of what it tells of.
///
/// # Errors
/// When the database fails.
pub async fn insert_message(tx: &mut Transaction<'static, Any>, message: &Message) -> Result<()> {
    sqlx::query("INSERT INTO webhook_events (id, type, at, body) VALUES ($1, $2, $3, $4)")
        .bind(message.id.as_str())
        .bind(message.kind.as_str())
        .bind(message.at.0)
        .bind(message.body.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Adds a delivery of a message, due at once.
///
/// # Errors
/// When the database fails.
pub async fn insert(
    tx: &mut Transaction<'static, Any>,
    webhook: WebhookId,
    message: &Message,
) -> Result<DeliveryId> {
    let id = DeliveryId::random();
    sqlx::query(
        "INSERT INTO webhook_deliveries (id, webhook_id, event_id, state, attempts, tries, due_at, give_up_at, \
         created_at) VALUES ($1, $2, $3, 'pending', 0, 0, $4, $5, $4)",
    )
    .bind(id.to_string())
    .bind(webhook.to_string())
    .bind(message.id.as_str())
    .bind(message.at.0)
    .bind(after(message.at, TRIED_FOR))
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

/// Has a delivery tried again from now on, whatever came of it; `false` when there is none with this id. Whoever
/// has an attempt under way no longer decides what becomes of it.
///
/// # Errors
/// When the database fails.
pub async fn replay(
    tx: &mut Transaction<'static, Any>,
    webhook: WebhookId,
    id: DeliveryId,
    now: UnixMillis,
) -> Result<bool> {
    let replayed = sqlx::query(
        "UPDATE webhook_deliveries SET state = 'pending', tries = 0, due_at = $3, lease = NULL, give_up_at = $4 \
         WHERE id = $1 AND webhook_id = $2",
    )
    .bind(id.to_string())
    .bind(webhook.to_string())
    .bind(now.0)
    .bind(after(now, TRIED_FOR))
    .execute(&mut **tx)
    .await?;
    Ok(replayed.rows_affected() == 1)
}

macro_rules! select_delivery {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.event_id, e.type, d.state, d.due_at, d.created_at, e.body FROM webhook_deliveries d ",
            "JOIN webhook_events e ON e.id = d.event_id ",
            $rest
        )
    };
}

const BY_ID: &str = select_delivery!("WHERE d.id = $1 AND d.webhook_id = $2");

/// Finds a delivery, with what is sent.
///
/// # Errors
/// When the database fails.
pub async fn by_id(pool: &AnyPool, webhook: WebhookId, id: DeliveryId) -> Result<Option<(Delivery, String)>> {
    let row = sqlx::query(BY_ID)
        .bind(id.to_string())
        .bind(webhook.to_string())
        .fetch_optional(pool)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut found = delivery(&row)?;
    let rows = sqlx::query(
        "SELECT delivery_id, at, duration_ms, status, error FROM webhook_attempts WHERE delivery_id = $1 \
         ORDER BY number",
    )
    .bind(id.to_string())
    .fetch_all(pool)
    .await?;
    found.attempts = rows.iter().map(attempt).collect::<Result<_>>()?;
    Ok(Some((found, row.try_get("body")?)))
}

/// The newest deliveries that the filter lets through, with their attempts: two queries.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &AnyPool, webhook: WebhookId, filter: Filter, limit: i64) -> Result<Vec<Delivery>> {
    let (before_at, before_id) = filter
        .before
        .map_or((i64::MAX, String::new()), |(at, id)| (at.0, id.to_string()));
    let rows = sqlx::query(select_delivery!(
        "WHERE d.webhook_id = $1 AND (CAST($2 AS TEXT) IS NULL OR d.state = $2) \
         AND (d.created_at, d.id) < ($3, $4) ORDER BY d.created_at DESC, d.id DESC LIMIT $5"
    ))
    .bind(webhook.to_string())
    .bind(filter.state.map(State::as_str))
    .bind(before_at)
    .bind(before_id)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let mut found: Vec<Delivery> = rows.iter().map(delivery).collect::<Result<_>>()?;
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else {
        return Ok(found);
    };
    let mut attempts = attempts_between(pool, webhook, oldest, newest).await?;
    for delivery in &mut found {
        delivery.attempts = attempts.remove(&delivery.id.to_string()).unwrap_or_default();
    }
    Ok(found)
}

async fn attempts_between(
    pool: &AnyPool,
    webhook: WebhookId,
    oldest: &Delivery,
    newest: &Delivery,
) -> Result<HashMap<String, Vec<Attempt>>> {
    let rows = sqlx::query(
        "SELECT a.delivery_id, a.at, a.duration_ms, a.status, a.error FROM webhook_deliveries d \
         JOIN webhook_attempts a ON a.delivery_id = d.id WHERE d.webhook_id = $1 \
         AND (d.created_at, d.id) >= ($2, $3) AND (d.created_at, d.id) <= ($4, $5) ORDER BY a.number",
    )
    .bind(webhook.to_string())
    .bind(oldest.created_at.0)
    .bind(oldest.id.to_string())
    .bind(newest.created_at.0)
    .bind(newest.id.to_string())
    .fetch_all(pool)
    .await?;
    let mut attempts: HashMap<String, Vec<Attempt>> = HashMap::new();
    for row in &rows {
        let delivery: String = row.try_get("delivery_id")?;
        attempts.entry(delivery).or_default().push(attempt(row)?);
    }
    Ok(attempts)
}

/// How many deliveries are pending.
///
/// # Errors
/// When the database fails.
pub async fn pending(pool: &AnyPool) -> Result<i64> {
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'pending'")
        .fetch_one(pool)
        .await?;
    Ok(count)
}

/// Removes some of the messages that are kept no longer, with their deliveries; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(store: &Store, now: UnixMillis) -> Result<u64> {
    let kept = i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
    let mut tx = store.begin(Purpose::Other).await?;
    let removed = sqlx::query(
        "DELETE FROM webhook_events WHERE id IN \
         (SELECT id FROM webhook_events WHERE at < $1 ORDER BY at LIMIT $2)",
    )
    .bind(now.0.saturating_sub(kept))
    .bind(EVENTS_AT_ONCE)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(removed.rows_affected())
}

fn delivery(row: &AnyRow) -> Result<Delivery> {
    let id: String = row.try_get("id")?;
    let state: String = row.try_get("state")?;
    Ok(Delivery {
        id: id.parse().map_err(StoreError::corrupt)?,
        message_id: row.try_get("event_id")?,
        kind: row.try_get("type")?,
        state: State::from_name(&state)
            .ok_or_else(|| StoreError::corrupt(format!("`{state}` is no state of a delivery")))?,
        due_at: UnixMillis(row.try_get("due_at")?),
        created_at: UnixMillis(row.try_get("created_at")?),
        attempts: Vec::new(),
    })
}

fn attempt(row: &AnyRow) -> Result<Attempt> {
    Ok(Attempt {
        at: UnixMillis(row.try_get("at")?),
        duration_ms: row.try_get("duration_ms")?,
        status: row.try_get("status")?,
        error: row.try_get("error")?,
    })
}

fn after(at: UnixMillis, span: std::time::Duration) -> i64 {
    at.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}
