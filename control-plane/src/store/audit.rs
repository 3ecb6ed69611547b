//! The audit trail: who changed what. Rows are only ever added (the database refuses anything else), each chained to
//! the one before by its hash.
//!
//! The hash of a row, in lower-case hex, is the SHA-256 of thirteen parts one after the other:
//!
//! 1. the hash of the row before it (of the first row: the empty text), `id`, `at` as decimal milliseconds since 1970,
//! 2. `actor_kind`, `actor_id`, `action`, `target_kind`, `target_id`,
//! 3. `account_id` (which the admin API calls `customer_id`), `before`, `after`: the very texts that are stored,
//! 4. `request_id`, `address`.
//!
//! A part that is absent goes in as the byte 0. Any other goes in as the byte 1, its length in bytes as an unsigned
//! 64-bit number, little end first, and its bytes in UTF-8. So no two different rows give the same bytes, and who
//! changes, removes or inserts a row has to make anew every hash after it: whoever noted one of them elsewhere sees
//! that. Numbers begin at 1 and have no gap.

use keyward_contract::UnixMillis;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row, Transaction};

use super::Result;
use super::accounts::given;

/// One change, as it is remembered. Never holds a secret.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// When.
    pub at: UnixMillis,
    /// `admin_key`, `account_key` or `system`.
    pub actor_kind: String,
    /// Which one.
    pub actor_id: String,
    /// What was done, such as `key.revoked`.
    pub action: String,
    /// What kind of thing it was done to.
    pub target_kind: String,
    /// Which one.
    pub target_id: String,
    /// The account that it concerns.
    pub account: Option<String>,
    /// JSON of what it was.
    pub before: Option<String>,
    /// JSON of what it became.
    pub after: Option<String>,
    /// The call.
    pub request_id: String,
    /// Where the call came from.
    pub address: String,
}

/// A stored event.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its place in the trail.
    pub number: i64,
    /// What happened.
    pub event: Event,
    /// SHA-256, in hex, over the hash before and this event.
    pub hash: String,
}

/// Adds an event to the trail, inside the transaction of the change itself.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Transaction<'static, Any>, event: &Event) -> Result<()> {
    let last: Option<(i64, String)> =
        sqlx::query_as("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
            .fetch_optional(&mut **tx)
            .await?;
    let (number, before) = last.unwrap_or_default();
    sqlx::query(
        "INSERT INTO audit (number, id, at, actor_kind, actor_id, action, target_kind, target_id, account_id, \
         before, after, request_id, address, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(number + 1)
    .bind(event.id.as_str())
    .bind(event.at.0)
    .bind(event.actor_kind.as_str())
    .bind(event.actor_id.as_str())
    .bind(event.action.as_str())
    .bind(event.target_kind.as_str())
    .bind(event.target_id.as_str())
    .bind(event.account.as_deref())
    .bind(event.before.as_deref())
    .bind(event.after.as_deref())
    .bind(event.request_id.as_str())
    .bind(event.address.as_str())
    .bind(chained(&before, event))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Which events a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this account.
    pub account: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this kind.
    pub action: Option<String>,
    /// Not before this.
    pub from: Option<UnixMillis>,
    /// Before this.
    pub to: Option<UnixMillis>,
    /// Older than the one with this number.
    pub before: Option<i64>,
}

/// The newest events that the filter lets through. Every filter that may stand alone has an index in the list's
/// order, so that the depth makes no difference; several filters at once walk the rows of one of them.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &AnyPool, filter: Filter, limit: i64) -> Result<Vec<StoredEvent>> {
    let Some((until_at, until_number)) = end_of(pool, &filter).await? else {
        return Ok(Vec::new());
    };
    // What isn't filtered by is left out of the text, so that an index fits what is left. The list's end is one
    // condition: of two, SQLite would take the one that leaves more.
    let text = format!(
        "SELECT number, id, at, actor_kind, actor_id, action, target_kind, target_id, account_id, before, after, \
         request_id, address, hash FROM audit WHERE {account} AND {actor} AND {action} AND at >= $4 \
         AND (at, number) < ($5, $6) ORDER BY at DESC, number DESC LIMIT $7",
        account = given(
            filter.account.as_ref(),
            "account_id = $1",
            "CAST($1 AS TEXT) IS NULL"
        ),
        actor = given(filter.actor.as_ref(), "actor_id = $2", "CAST($2 AS TEXT) IS NULL"),
        action = given(filter.action.as_ref(), "action = $3", "CAST($3 AS TEXT) IS NULL"),
    );
    // Nothing but our own texts is put together.
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(filter.account)
        .bind(filter.actor)
        .bind(filter.action)
        .bind(filter.from.map_or(i64::MIN, |at| at.0))
        .bind(until_at)
        .bind(until_number)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter().map(stored).collect()
}

/// The place before which the list begins: instant and number. `None` when it begins after an event that isn't there.
async fn end_of(pool: &AnyPool, filter: &Filter) -> Result<Option<(i64, i64)>> {
    let to = filter.to.map_or((i64::MAX, i64::MIN), |at| (at.0, i64::MIN));
    let Some(number) = filter.before else {
        return Ok(Some(to));
    };
    let shown: Option<(i64,)> = sqlx::query_as("SELECT at FROM audit WHERE number = $1")
        .bind(number)
        .fetch_optional(pool)
        .await?;
    Ok(shown.map(|(at,)| to.min((at, number))))
}

fn stored(row: &AnyRow) -> Result<StoredEvent> {
    Ok(StoredEvent {
        number: row.try_get("number")?,
        event: Event {
            id: row.try_get("id")?,
            at: UnixMillis(row.try_get("at")?),
            actor_kind: row.try_get("actor_kind")?,
            actor_id: row.try_get("actor_id")?,
            action: row.try_get("action")?,
            target_kind: row.try_get("target_kind")?,
            target_id: row.try_get("target_id")?,
            account: row.try_get("account_id")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
            request_id: row.try_get("request_id")?,
            address: row.try_get("address")?,
        },
        hash: row.try_get("hash")?,
    })
}

const EXPORTED: &str = "SELECT a.number, a.id, a.at, a.actor_kind, a.actor_id, a.action, a.target_kind, \
     a.target_id, a.account_id, a.before, a.after, a.request_id, a.address, a.hash, p.hash AS previous_hash \
     FROM audit a LEFT JOIN audit p ON p.number = a.number - 1 \
     WHERE a.number > $1 AND a.number <= $2 AND a.at >= $3 AND a.at < $4 ORDER BY a.number LIMIT $5";

/// Which part of the trail is walked, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// After the row with this number.
    pub after: i64,
    /// Up to the row with this number.
    pub last: i64,
    /// Not before this.
    pub from: UnixMillis,
    /// Before this.
    pub to: UnixMillis,
}

/// A stored event with the hash that its own is chained to.
#[derive(Clone, Debug)]
pub struct ChainedEvent {
    /// The event.
    pub stored: StoredEvent,
    /// The hash of the row before; empty for the first.
    pub previous_hash: String,
}

/// The next events of a span, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn walk(pool: &AnyPool, span: Span, limit: i64) -> Result<Vec<ChainedEvent>> {
    let rows = sqlx::query(EXPORTED)
        .bind(span.after)
        .bind(span.last)
        .bind(span.from.0)
        .bind(span.to.0)
        .bind(limit)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ChainedEvent {
                stored: stored(row)?,
                previous_hash: row
                    .try_get::<Option<String>, _>("previous_hash")?
                    .unwrap_or_default(),
            })
        })
        .collect()
}

/// The number of the newest event; 0 when there is none.
///
/// # Errors
/// When the database fails.
pub async fn newest(pool: &AnyPool) -> Result<i64> {
    let (newest,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(number), 0) FROM audit")
        .fetch_one(pool)
        .await?;
    Ok(newest)
}

/// The hash of an event after the one with the hash `before`, as the module's head says. Every part goes in with its
/// length, so that no two different events give the same bytes.
#[must_use]
pub fn chained(before: &str, event: &Event) -> String {
    let mut hash = Sha256::new();
    let at = event.at.0.to_string();
    let parts = [
        Some(before),
        Some(&event.id),
        Some(&at),
        Some(&event.actor_kind),
        Some(&event.actor_id),
        Some(&event.action),
        Some(&event.target_kind),
        Some(&event.target_id),
        event.account.as_deref(),
        event.before.as_deref(),
        event.after.as_deref(),
        Some(&event.request_id),
        Some(&event.address),
    ];
    for part in parts {
        match part {
            None => hash.update([0]),
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
    }
    hex::encode(hash.finalize())
}
