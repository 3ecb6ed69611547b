//! The change log: revisions without gaps, in the order of their commits.
//!
//! Written by every change inside its own transaction, read by the feed. A reader that asks for what came
//! after a revision gets exactly the next ones, or learns that the log no longer reaches back so far.
//!
//! Every change has a **history**: a name for the whole log up to it, made of the name before and of the change. Two
//! logs that differ anywhere have other names from there on. So a gateway that says the history at its revision says
//! whether what it holds is of this log, also where an older database was restored and has grown past it.

use keyward_contract::record::Record;
use keyward_contract::{UnixMillis, feed};
use prost::Message;
use sqlx::{Any, Transaction};

use super::{Engine, Purpose, Result, Store};

mod compact;

pub use compact::{Keep, compact};

/// The name of the log up to a change.
pub type History = [u8; 32];

const HISTORY: &str = "keyward 2026-11 change log history v1";

/// The name of the log up to a change: of the one before, where that has a name, and of the change, encoded without it.
#[must_use]
pub fn history(before: Option<&History>, revision: u64, encoded: &[u8]) -> History {
    let mut hasher = blake3::Hasher::new_derive_key(HISTORY);
    hasher.update(before.map_or(&[][..], |before| before));
    hasher.update(&revision.to_le_bytes());
    hasher.update(encoded);
    hasher.finalize().into()
}

/// Adds one change to the log inside the transaction that makes it, and answers its revision.
///
/// The first statement of this locks the head row, so that revisions are given in the order of commits and a
/// rolled-back change leaves no gap. Call it last in the transaction, so that the lock is held briefly.
///
/// # Errors
/// When the database fails; the transaction must then be dropped.
pub async fn append(tx: &mut Transaction<'static, Any>, now: UnixMillis, records: &[Record]) -> Result<u64> {
    let (revision,): (i64,) =
        sqlx::query_as("UPDATE change_head SET revision = revision + 1 WHERE id = 1 RETURNING revision")
            .fetch_one(&mut **tx)
            .await?;
    let revision_number = u64::try_from(revision).unwrap_or_default();
    // A statement of its own: on PostgreSQL it sees what was committed before the lock was had. The newest change is
    // never removed, so the name before is there, unless an earlier version made that change.
    let before: Option<(Option<Vec<u8>>,)> =
        sqlx::query_as("SELECT history FROM changes WHERE revision = $1")
            .bind(revision - 1)
            .fetch_optional(&mut **tx)
            .await?;
    let change = feed::Change {
        revision: revision_number,
        committed_at_ms: now.0,
        records: records.iter().map(feed::Record::from).collect(),
        history: Vec::new(),
    };
    let encoded = change.encode_to_vec();
    let before = before.and_then(|(before,)| named(before));
    let history = history(before.as_ref(), revision_number, &encoded);
    sqlx::query("INSERT INTO changes (revision, committed_at, records, history) VALUES ($1, $2, $3, $4)")
        .bind(revision)
        .bind(now.0)
        .bind(encoded)
        .bind(history.to_vec())
        .execute(&mut **tx)
        .await?;
    if Engine::of(tx) == Engine::Postgres {
        // Heard by every control plane once, and not before, this transaction commits.
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(COMMITTED)
            .bind(revision.to_string())
            .execute(&mut **tx)
            .await?;
    }
    Ok(revision_number)
}

/// Where commits are told of on PostgreSQL; the payload is the revision.
pub const COMMITTED: &str = "keyward_changes";

/// The log at one of its ends, or at a revision in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The revision; 0 before the first change.
    pub revision: u64,
    /// The name of the log up to it; `None` when that change is gone, or was made by an earlier version.
    pub history: Option<History>,
}

/// The log's newest change, and the name of the log itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest change.
    pub place: Place,
    /// The feed epoch: revisions of another one can't be compared with ours.
    pub epoch: String,
}

/// The newest revision; 0 before the first change.
///
/// # Errors
/// When the database fails.
pub async fn head(store: &Store) -> Result<u64> {
    let (revision,): (i64,) = sqlx::query_as("SELECT revision FROM change_head WHERE id = 1")
        .fetch_one(store.readers())
        .await?;
    Ok(u64::try_from(revision).unwrap_or_default())
}

/// The newest change with its history, and the feed epoch, as of one moment.
///
/// # Errors
/// When the database fails.
pub async fn head_and_epoch(store: &Store) -> Result<Head> {
    let (revision, history, epoch): (i64, Option<Vec<u8>>, String) = sqlx::query_as(
        "SELECT h.revision, c.history, s.value FROM change_head h JOIN settings s ON s.name = 'feed_epoch' \
         LEFT JOIN changes c ON c.revision = h.revision WHERE h.id = 1",
    )
    .fetch_one(store.readers())
    .await?;
    Ok(Head {
        place: Place {
            revision: u64::try_from(revision).unwrap_or_default(),
            history: named(history),
        },
        epoch,
    })
}

/// The newest revision, and the history at an earlier one, as of one moment.
///
/// # Errors
/// When the database fails.
pub async fn head_and_history_at(store: &Store, revision: u64) -> Result<(u64, Option<History>)> {
    let (head, history): (i64, Option<Vec<u8>>) = sqlx::query_as(
        "SELECT h.revision, c.history FROM change_head h LEFT JOIN changes c ON c.revision = $1 WHERE h.id = 1",
    )
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .fetch_one(store.readers())
    .await?;
    Ok((u64::try_from(head).unwrap_or_default(), named(history)))
}

/// The newest revision that this transaction sees. Asked first in a transaction, it fixes what it will see.
///
/// # Errors
/// When the database fails.
pub async fn head_in(tx: &mut Transaction<'static, Any>) -> Result<u64> {
    let (revision,): (i64,) = sqlx::query_as("SELECT revision FROM change_head WHERE id = 1")
        .fetch_one(&mut **tx)
        .await?;
    Ok(u64::try_from(revision).unwrap_or_default())
}

/// The first `limit` changes after a revision, in order, each as an encoded [`feed::Change`] with its history.
///
/// When the log was compacted, the first one is not `revision + 1`: who asked must then take a snapshot.
///
/// # Errors
/// When the database fails.
pub async fn after(store: &Store, revision: u64, limit: u32) -> Result<Vec<(u64, Vec<u8>)>> {
    let rows: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT revision, records, history FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2",
    )
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(i64::from(limit))
    .fetch_all(store.readers())
    .await?;
    let with_history = |(revision, mut change, history): (i64, Vec<u8>, Option<Vec<u8>>)| {
        if let Some(history) = named(history) {
            // Messages are merged by writing one after the other.
            let named = feed::Change {
                history: history.to_vec(),
                ..feed::Change::default()
            };
            change.extend(named.encode_to_vec());
        }
        (u64::try_from(revision).unwrap_or_default(), change)
    };
    Ok(rows.into_iter().map(with_history).collect())
}

/// What [`after`] answers of a change that has a history, without it: what the history was made of.
#[must_use]
pub fn without_history(encoded: &[u8]) -> &[u8] {
    const NAMED: usize = 2 + size_of::<History>();
    encoded
        .len()
        .checked_sub(NAMED)
        .and_then(|end| encoded.get(..end))
        .unwrap_or(encoded)
}

/// A stored or told history; what is none of ours counts as none.
pub fn named(bytes: Option<impl AsRef<[u8]>>) -> Option<History> {
    bytes.and_then(|bytes| bytes.as_ref().try_into().ok())
}

/// Begins a new feed epoch, unless another one than `present` has begun already; answers the one that is in force.
///
/// # Errors
/// When the database fails.
pub async fn renew_epoch(store: &Store, present: &str) -> Result<String> {
    let mut tx = store.begin(Purpose::Other).await?;
    let begun = sqlx::query("UPDATE settings SET value = $1 WHERE name = 'feed_epoch' AND value = $2")
        .bind(uuid::Uuid::now_v7().to_string())
        .bind(present.to_owned())
        .execute(&mut *tx)
        .await?
        .rows_affected();
    let (epoch,): (String,) = sqlx::query_as("SELECT value FROM settings WHERE name = 'feed_epoch'")
        .fetch_one(&mut *tx)
        .await?;
    if begun == 1 && Engine::of(&tx) == Engine::Postgres {
        // What gateways of other control planes had in force is of the log that was.
        sqlx::query("UPDATE gateways SET revision = 0")
            .execute(&mut *tx)
            .await?;
        // The other control planes look at once.
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(COMMITTED)
            .bind(NEW_EPOCH)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(epoch)
}

/// What is told on [`COMMITTED`] when a new feed epoch has begun.
pub const NEW_EPOCH: &str = "epoch";

#[cfg(test)]
mod tests;
