//! Snapshots: the whole key set at one revision, in small pieces.
//!
//! All of it is read in one transaction, so it is exactly the state at its revision. Few are read at a time:
//! each holds a connection until its gateway has taken it.

use std::sync::Arc;

use keyward_contract::feed::{self, control_frame::Frame};
use keyward_contract::{AccountRecord, KeyRecord};
use prost::Message;
use sqlx::{Any, Transaction};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::store::{Store, StoreError, changes, records};

/// As many snapshots are read at once; others wait. Half of the readers stay free for everything else.
const AT_ONCE: usize = 4;
const RECORDS_A_CHUNK: i64 = 1_000;
/// A chunk is no larger than this, but for a record that alone is.
const BYTES_A_CHUNK: usize = 512 * 1024;
/// As many chunks are read ahead of the stream.
const AHEAD: usize = 4;

#[derive(Debug)]
pub(super) struct Snapshots {
    store: Store,
    permits: Arc<Semaphore>,
}

/// A snapshot on its way. Dropped, its reading stops.
#[derive(Debug)]
pub(super) struct Snapshot {
    frames: mpsc::Receiver<Result<Frame, StoreError>>,
    _reading: AbortOnDropHandle<()>,
}

impl Snapshots {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Begins one: its frames come from `SnapshotBegin` to `SnapshotEnd`.
    pub(super) fn begin(&self) -> Snapshot {
        let (sender, frames) = mpsc::channel(AHEAD);
        let (store, permits) = (self.store.clone(), Arc::clone(&self.permits));
        let reading = tokio::spawn(async move {
            let Ok(_permit) = permits.acquire_owned().await else {
                return;
            };
            if let Err(error) = read(&store, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Snapshot {
            frames,
            _reading: AbortOnDropHandle::new(reading),
        }
    }
}

impl Snapshot {
    /// The next frame; `None` after the end or an error.
    pub(super) async fn next(&mut self) -> Option<Result<Frame, StoreError>> {
        self.frames.recv().await
    }
}

type Sender = mpsc::Sender<Result<Frame, StoreError>>;

async fn read(store: &Store, sender: &Sender) -> Result<(), StoreError> {
    let mut tx = store.begin_reading().await?;
    let revision = changes::head_in(&mut tx).await?;
    let (records,): (i64,) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM accounts) + (SELECT COUNT(*) FROM api_keys)")
            .fetch_one(&mut *tx)
            .await?;
    let begin = Frame::SnapshotBegin(feed::SnapshotBegin {
        revision,
        records: u64::try_from(records).unwrap_or_default(),
        ..feed::SnapshotBegin::default()
    });
    if sender.send(Ok(begin)).await.is_ok()
        && accounts(&mut tx, sender).await?.is_some()
        && keys(&mut tx, sender).await?.is_some()
    {
        let _ = sender
            .send(Ok(Frame::SnapshotEnd(feed::SnapshotEnd { revision, records: 0 })))
            .await;
    }
    tx.rollback().await?;
    Ok(())
}

/// `None`: nobody wants it any more.
async fn accounts(tx: &mut Transaction<'static, Any>, sender: &Sender) -> Result<Option<()>, StoreError> {
    let mut after = None;
    loop {
        let page: Vec<AccountRecord> =
            records::account_records(tx, after, RECORDS_A_CHUNK, super::now()).await?;
        let Some(last) = page.last() else {
            return Ok(Some(()));
        };
        after = Some(last.id.to_string());
        let page = page
            .iter()
            .map(|account| feed::record::Record::Account(account.into()));
        if send(sender, page).await.is_none() {
            return Ok(None);
        }
    }
}

async fn keys(tx: &mut Transaction<'static, Any>, sender: &Sender) -> Result<Option<()>, StoreError> {
    let mut after = i64::MIN;
    loop {
        let page: Vec<(i64, KeyRecord)> = records::key_records(tx, after, RECORDS_A_CHUNK).await?;
        let Some((last, _)) = page.last() else {
            return Ok(Some(()));
        };
        after = *last;
        let page = page.iter().map(|(_, key)| feed::record::Record::Key(key.into()));
        if send(sender, page).await.is_none() {
            return Ok(None);
        }
    }
}

/// Sends a page as one chunk, or as several when its records are long.
async fn send(sender: &Sender, page: impl Iterator<Item = feed::record::Record>) -> Option<()> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    for record in page {
        let record = feed::Record { record: Some(record) };
        let length = record.encoded_len();
        if bytes + length > BYTES_A_CHUNK && !chunk.is_empty() {
            let records = std::mem::take(&mut chunk);
            sender
                .send(Ok(Frame::SnapshotChunk(feed::SnapshotChunk { records })))
                .await
                .ok()?;
            bytes = 0;
        }
        bytes += length;
        chunk.push(record);
    }
    let chunk = Frame::SnapshotChunk(feed::SnapshotChunk { records: chunk });
    sender.send(Ok(chunk)).await.ok()
}
