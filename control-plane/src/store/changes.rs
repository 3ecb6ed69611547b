//! The change log: revisions without gaps, in the order of their commits.
//!
//! Written by every change inside its own transaction, read by the feed. A reader that asks for what came
//! after a revision gets exactly the next ones, or learns that the log no longer reaches back so far.

use keyward_contract::record::Record;
use keyward_contract::{UnixMillis, feed};
use prost::Message;
use sqlx::{Any, Transaction};

use super::{Engine, Purpose, Result, Store};

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
        history: Vec::new(),
    };
    sqlx::query("INSERT INTO changes (revision, committed_at, records) VALUES ($1, $2, $3)")
        .bind(revision)
        .bind(now.0)
        .bind(change.encode_to_vec())
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

/// The first `limit` changes after a revision, in order, each as an encoded [`feed::Change`].
///
/// When the log was compacted, the first one is not `revision + 1`: who asked must then take a snapshot.
///
/// # Errors
/// When the database fails.
pub async fn after(store: &Store, revision: u64, limit: u32) -> Result<Vec<(u64, Vec<u8>)>> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT revision, records FROM changes WHERE revision > $1 ORDER BY revision LIMIT $2",
    )
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(i64::from(limit))
    .fetch_all(store.readers())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(revision, change)| (u64::try_from(revision).unwrap_or_default(), change))
        .collect())
}

/// Removes up to `limit` of the oldest changes, leaving the newest `keep`; answers how many went.
///
/// # Errors
/// When the database fails.
pub async fn compact(store: &Store, keep: u64, limit: u32) -> Result<u64> {
    let head = head(store).await?;
    let mut tx = store.begin(Purpose::Other).await?;
    let removed = sqlx::query(
        "DELETE FROM changes WHERE revision IN \
         (SELECT revision FROM changes WHERE revision <= $1 ORDER BY revision LIMIT $2)",
    )
    .bind(i64::try_from(head.saturating_sub(keep)).unwrap_or_default())
    .bind(i64::from(limit))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(removed.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
            .await
            .unwrap();
        (folder, store)
    }

    async fn change(store: &Store) -> u64 {
        let mut tx = store.begin(Purpose::Change).await.unwrap();
        let revision = append(&mut tx, UnixMillis(7), &[]).await.unwrap();
        tx.commit().await.unwrap();
        revision
    }

    #[tokio::test]
    async fn revisions_have_no_gap_when_a_change_is_rolled_back() {
        let (_folder, store) = store().await;
        assert_eq!(change(&store).await, 1);
        let mut tx = store.begin(Purpose::Change).await.unwrap();
        assert_eq!(append(&mut tx, UnixMillis(7), &[]).await.unwrap(), 2);
        tx.rollback().await.unwrap();
        assert_eq!(change(&store).await, 2);
        assert_eq!(head(&store).await.unwrap(), 2);
        let log = after(&store, 0, 10).await.unwrap();
        let revisions: Vec<u64> = log.iter().map(|(revision, _)| *revision).collect();
        assert_eq!(revisions, [1, 2]);
        assert_eq!(feed::Change::decode(log[1].1.as_slice()).unwrap().revision, 2);
    }

    #[tokio::test]
    async fn compaction_takes_the_oldest_and_leaves_the_newest() {
        let (_folder, store) = store().await;
        for _ in 0..10 {
            change(&store).await;
        }
        assert_eq!(compact(&store, 4, 5).await.unwrap(), 5);
        assert_eq!(compact(&store, 4, 5).await.unwrap(), 1);
        assert_eq!(compact(&store, 4, 5).await.unwrap(), 0);
        let left = after(&store, 2, 100).await.unwrap();
        assert_eq!(left.first().map(|(revision, _)| *revision), Some(7));
        assert_eq!(head(&store).await.unwrap(), 10);
    }
}
