//! Webhooks. Their messages and deliveries are in `deliveries`.

use keyward_contract::UnixMillis;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Row, Transaction};

use super::keys::instant;
use super::{Result, StoreError};
use crate::domain::webhook::{Endpoint, EventKind, Subscription, Webhook, WebhookId, WebhookStatus};

pub mod attempts;
pub mod deliveries;

macro_rules! select_webhook {
    ($rest:literal) => {
        concat!(
            "SELECT id, url, events, description, status, disabled_reason, secret, old_secret, old_secret_until, ",
            "created_at, updated_at FROM webhooks ",
            $rest
        )
    };
}

/// Finds a webhook.
///
/// # Errors
/// When the database fails.
pub async fn by_id(pool: &AnyPool, id: WebhookId) -> Result<Option<Webhook>> {
    let row = sqlx::query(select_webhook!("WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(webhook).transpose()
}

/// Finds a webhook that is to be changed.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &mut Transaction<'static, Any>, id: WebhookId) -> Result<Option<Webhook>> {
    let row = sqlx::query(select_webhook!("WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(webhook).transpose()
}

/// All webhooks, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &AnyPool) -> Result<Vec<Webhook>> {
    let rows = sqlx::query(select_webhook!("ORDER BY created_at DESC, id DESC"))
        .fetch_all(pool)
        .await?;
    rows.iter().map(webhook).collect()
}

/// How many webhooks there are.
///
/// # Errors
/// When the database fails.
pub async fn count(tx: &mut Transaction<'static, Any>) -> Result<i64> {
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM webhooks")
        .fetch_one(&mut **tx)
        .await?;
    Ok(count)
}

/// Who is told of this: one read of a small table.
///
/// # Errors
/// When the database fails.
pub async fn subscribed(tx: &mut Transaction<'static, Any>, kind: EventKind) -> Result<Vec<WebhookId>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, events FROM webhooks WHERE status = 'active' ORDER BY id")
            .fetch_all(&mut **tx)
            .await?;
    let mut subscribed = Vec::new();
    for (id, events) in rows {
        if subscription(&events)?.has(kind) {
            subscribed.push(id.parse().map_err(StoreError::corrupt)?);
        }
    }
    Ok(subscribed)
}

/// Adds a webhook.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Transaction<'static, Any>, webhook: &Webhook) -> Result<()> {
    sqlx::query(
        "INSERT INTO webhooks (id, url, events, description, status, disabled_reason, secret, old_secret, \
         old_secret_until, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(webhook.id.to_string())
    .bind(webhook.endpoint.url().as_str())
    .bind(events_text(webhook)?)
    .bind(webhook.description.as_deref())
    .bind(webhook.status.as_str())
    .bind(webhook.status.reason())
    .bind(webhook.secret.as_slice())
    .bind(webhook.old_secret.as_ref().map(|(secret, _)| secret.as_slice()))
    .bind(webhook.old_secret.as_ref().map(|(_, until)| until.0))
    .bind(webhook.created_at.0)
    .bind(webhook.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Saves what can be changed of a webhook.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &mut Transaction<'static, Any>, webhook: &Webhook) -> Result<()> {
    sqlx::query(
        "UPDATE webhooks SET url = $2, events = $3, description = $4, status = $5, disabled_reason = $6, \
         secret = $7, old_secret = $8, old_secret_until = $9, updated_at = $10 WHERE id = $1",
    )
    .bind(webhook.id.to_string())
    .bind(webhook.endpoint.url().as_str())
    .bind(events_text(webhook)?)
    .bind(webhook.description.as_deref())
    .bind(webhook.status.as_str())
    .bind(webhook.status.reason())
    .bind(webhook.secret.as_slice())
    .bind(webhook.old_secret.as_ref().map(|(secret, _)| secret.as_slice()))
    .bind(webhook.old_secret.as_ref().map(|(_, until)| until.0))
    .bind(webhook.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Removes a webhook with its secret and all of its deliveries.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &mut Transaction<'static, Any>, id: WebhookId) -> Result<()> {
    sqlx::query("DELETE FROM webhooks WHERE id = $1")
        .bind(id.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn webhook(row: &AnyRow) -> Result<Webhook> {
    let id: String = row.try_get("id")?;
    let url: String = row.try_get("url")?;
    let status: String = row.try_get("status")?;
    let reason: Option<String> = row.try_get("disabled_reason")?;
    let old_secret: Option<Vec<u8>> = row.try_get("old_secret")?;
    Ok(Webhook {
        id: id.parse().map_err(StoreError::corrupt)?,
        endpoint: Endpoint::parse("url", &url).map_err(StoreError::corrupt)?,
        events: subscription(&row.try_get::<String, _>("events")?)?,
        description: row.try_get("description")?,
        status: WebhookStatus::from_stored(&status, reason.as_deref()),
        secret: row.try_get("secret")?,
        old_secret: old_secret.zip(instant(row, "old_secret_until")?),
        created_at: UnixMillis(row.try_get("created_at")?),
        updated_at: UnixMillis(row.try_get("updated_at")?),
    })
}

fn subscription(text: &str) -> Result<Subscription> {
    let names: Vec<&str> = serde_json::from_str(text).map_err(StoreError::corrupt)?;
    Subscription::parse("events", &names).map_err(StoreError::corrupt)
}

fn events_text(webhook: &Webhook) -> Result<String> {
    serde_json::to_string(&webhook.events.names()).map_err(StoreError::corrupt)
}
