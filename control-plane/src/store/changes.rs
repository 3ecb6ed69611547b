//! The change log: revisions without gaps, in the order of their commits.

use keyward_contract::record::Record;
use keyward_contract::{UnixMillis, feed};
use prost::Message;
use sqlx::{Any, Transaction};

use super::Result;

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
    let change = feed::Change {
        revision: revision_number,
        committed_at_ms: now.0,
        records: records.iter().map(feed::Record::from).collect(),
    };
    sqlx::query("INSERT INTO changes (revision, committed_at, records) VALUES ($1, $2, $3)")
        .bind(revision)
        .bind(now.0)
        .bind(change.encode_to_vec())
        .execute(&mut **tx)
        .await?;
    Ok(revision_number)
}

/// The newest revision, as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn head(tx: &mut Transaction<'static, Any>) -> Result<u64> {
    let (revision,): (i64,) = sqlx::query_as("SELECT revision FROM change_head WHERE id = 1")
        .fetch_one(&mut **tx)
        .await?;
    Ok(u64::try_from(revision).unwrap_or_default())
}

/// The newest revision.
///
/// # Errors
/// When the database fails.
pub async fn newest(store: &super::Store) -> Result<u64> {
    let (revision,): (i64,) = sqlx::query_as("SELECT revision FROM change_head WHERE id = 1")
        .fetch_one(store.readers())
        .await?;
    Ok(u64::try_from(revision).unwrap_or_default())
}
