//! Snapshots: the whole key set at one revision, in small pieces.
//!
//! One pass over the database, in one transaction while changes go on, writes all of it into a file (`spool`), encoded as it travels. Every gateway that needs a
//! snapshot meanwhile, or soon after, is sent that file and then the log from its revision on: two hundred gateways with empty disks cost one
//! pass. What a gateway is sent is what the file has by then: nobody waits until it is whole.
//!
//! Where no file can be written (a full disk), a snapshot is read straight out of the database, as fast as its gateway
//! takes it; few at a time, since each holds a connection.
//!
//! Few gateways are sent one at once, so that what waits for their connections is bounded; the others wait for their
//! turn, with their streams up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{Record, feed};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::frames::Outgoing;
use super::scope::Scope;
use crate::store::changes::Place;
use crate::store::records::walk::Walk;
use crate::store::{Store, StoreError};

mod spool;
#[cfg(test)]
mod tests;

pub(super) use spool::folder;
use spool::{Folder, Spool};

/// As many gateways are sent a snapshot at once.
const SENT_AT_ONCE: usize = 16;
/// As many passes over the database go on at once.
const PASSES_AT_ONCE: usize = 2;
/// As many pieces are read ahead of a stream.
const AHEAD: usize = 2;
/// A piece is no larger than this, but for a record that alone is.
const BYTES_A_PIECE: usize = 512 * 1024;
/// No file is used for longer.
const LONGEST_USE: Duration = Duration::from_secs(300);
/// Nor for more than so many times what it took to make it: then making them costs at most a twentieth of the time.
const USE_FOR_MAKING: u32 = 20;
/// One that took less is quicker made anew than its gateways go through what came since.
const WORTH_KEEPING: Duration = Duration::from_millis(50);
/// Nor when so much came since that gateways would be long about it.
const MOST_BEHIND: u64 = 20_000;
/// After a file could not be written none is tried for so long.
const WITHOUT_FILES: Duration = Duration::from_secs(30);

/// Why a gateway gets no snapshot now.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSnapshot {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("its file: {0}")]
    File(#[from] std::io::Error),
    #[error("it is not whole: {0}")]
    Broken(&'static str),
}

/// What a stream sends of a snapshot, in this order.
#[derive(Debug)]
pub(super) enum Piece {
    Begin(feed::SnapshotBegin),
    Records(Outgoing),
    End(feed::SnapshotEnd),
}

/// All snapshots of a control plane.
#[derive(Clone, Debug)]
pub(super) struct Snapshots(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    store: Store,
    folder: Folder,
    sending: Semaphore,
    passes: Arc<Semaphore>,
    /// One is begun at a time: who asks meanwhile is mostly answered by it.
    beginning: tokio::sync::Mutex<()>,
    /// The newest file.
    newest: Mutex<Option<Arc<Spool>>>,
    /// Until when no file is tried.
    without_files: Mutex<Option<Instant>>,
}

/// A snapshot on its way to one gateway. Dropped, its reading stops.
#[derive(Debug)]
pub(super) struct Snapshot {
    pieces: mpsc::Receiver<Result<Piece, NoSnapshot>>,
    _reading: AbortOnDropHandle<()>,
}

impl Snapshot {
    /// The next piece; `None` after the end or an error.
    pub(super) async fn next(&mut self) -> Option<Result<Piece, NoSnapshot>> {
        self.pieces.recv().await
    }
}

impl Snapshots {
    /// None yet; their files are made in this folder.
    pub(super) fn new(store: Store, folder: Folder) -> Self {
        Self(Arc::new(Shelf {
            store,
            folder,
            sending: Semaphore::new(SENT_AT_ONCE),
            passes: Arc::new(Semaphore::new(PASSES_AT_ONCE)),
            beginning: tokio::sync::Mutex::default(),
            newest: Mutex::default(),
            without_files: Mutex::default(),
        }))
    }

    /// Begins to send one of this revision or a later one to a gateway of this scope. `head` is the newest revision.
    pub(super) fn begin(&self, scope: &Scope, least: u64, head: u64) -> Snapshot {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let (shelf, scope) = (Arc::clone(&self.0), scope.clone());
        let reading = tokio::spawn(async move {
            let Ok(_permit) = shelf.sending.acquire().await else {
                return;
            };
            let sending = Sending {
                scope,
                sender,
                sent: 0,
            };
            let sender = sending.sender.clone();
            if let Err(error) = shelf.send(sending, least, head).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        Snapshot {
            pieces,
            _reading: AbortOnDropHandle::new(reading),
        }
    }

    /// From where on somebody is about to read the log.
    pub(super) fn needed(&self) -> Option<u64> {
        let newest = self.0.newest.lock();
        newest.as_ref().map(|spool| spool.place().revision)
    }
}

impl Shelf {
    async fn send(self: &Arc<Self>, mut sending: Sending, least: u64, head: u64) -> Result<(), NoSnapshot> {
        let Some(spool) = self.spool(least, head).await? else {
            return self.send_directly(sending).await;
        };
        let sent = sending.spool(&spool).await;
        if sent.is_err() {
            self.forget(&spool);
        }
        sent
    }

    /// A file that serves; `None` when none can be had.
    async fn spool(self: &Arc<Self>, least: u64, head: u64) -> Result<Option<Arc<Spool>>, NoSnapshot> {
        let _one = self.beginning.lock().await;
        let newest = self.newest.lock().clone();
        match newest {
            Some(spool) if spool.serves(least, head) => return Ok(Some(spool)),
            Some(spool) if spool.has_failed() => self.forget(&spool),
            _ => {}
        }
        let is_without = |until: Option<Instant>| until.is_some_and(|until| Instant::now() < until);
        if is_without(*self.without_files.lock()) {
            return Ok(None);
        }
        let permit = Arc::clone(&self.passes).acquire_owned().await;
        let walk = Walk::begin(&self.store, super::now()).await?;
        let spool = match Spool::begin(&self.folder, walk, permit.ok()) {
            Ok(spool) => spool,
            Err(error) => {
                self.no_file(&error);
                return Ok(None);
            }
        };
        *self.newest.lock() = Some(Arc::clone(&spool));
        self.remove_later(&spool);
        Ok(Some(spool))
    }

    fn no_file(&self, error: &std::io::Error) {
        tracing::error!(%error, folder = %self.folder.display(), "no snapshot can be written into this folder: gateways are sent the database itself");
        *self.without_files.lock() = Some(Instant::now() + WITHOUT_FILES);
    }

    /// A file that failed is used no more.
    fn forget(&self, spool: &Arc<Spool>) {
        let mut newest = self.newest.lock();
        if newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, spool)) {
            *newest = None;
        }
        drop(newest);
        if let Some(error) = spool.file_error() {
            self.no_file(&error);
        }
    }

    /// Its room on the disk is free again once nobody is sent it.
    fn remove_later(self: &Arc<Self>, spool: &Arc<Spool>) {
        let (shelf, spool) = (Arc::downgrade(self), Arc::downgrade(spool));
        tokio::spawn(async move {
            tokio::time::sleep(LONGEST_USE).await;
            if let (Some(shelf), Some(spool)) = (shelf.upgrade(), spool.upgrade()) {
                let mut newest = shelf.newest.lock();
                if newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, &spool)) {
                    *newest = None;
                }
            }
        });
    }

    /// Without a file: a pass over the database for one gateway.
    async fn send_directly(&self, mut sending: Sending) -> Result<(), NoSnapshot> {
        let Ok(_permit) = self.passes.acquire().await else {
            return Ok(());
        };
        let mut walk = Walk::begin(&self.store, super::now()).await?;
        let (place, records) = (walk.place, walk.records);
        if sending.begin(place, records).await.is_none() {
            return Ok(());
        }
        let mut read = 0;
        while let Some(batch) = walk.next().await {
            let batch = batch?;
            read += batch.len() as u64;
            for chunk in pieces(&batch) {
                if sending.chunk(chunk).await.is_none() {
                    return Ok(());
                }
            }
        }
        if read != records {
            return Err(NoSnapshot::Broken("the database had fewer records than it said"));
        }
        sending.end(place).await;
        Ok(())
    }
}

/// What one gateway is sent.
struct Sending {
    scope: Scope,
    sender: mpsc::Sender<Result<Piece, NoSnapshot>>,
    sent: u64,
}

impl Sending {
    /// `None`, here and below: nobody wants it any more.
    async fn piece(&self, piece: Piece) -> Option<()> {
        self.sender.send(Ok(piece)).await.ok()
    }

    async fn begin(&self, place: Place, records: u64) -> Option<()> {
        self.piece(Piece::Begin(feed::SnapshotBegin {
            revision: place.revision,
            // How many are in a scope is known at its end.
            records: if self.scope.is_everything() { records } else { 0 },
            history: place.history.map(Vec::from).unwrap_or_default(),
            confirmed: false,
        }))
        .await
    }

    async fn end(&self, place: Place) -> Option<()> {
        self.piece(Piece::End(feed::SnapshotEnd {
            revision: place.revision,
            records: self.sent,
        }))
        .await
    }

    async fn chunk(&mut self, mut chunk: feed::SnapshotChunk) -> Option<()> {
        chunk.records.retain(|record| self.scope.keeps(record));
        if chunk.records.is_empty() {
            return Some(());
        }
        self.sent += chunk.records.len() as u64;
        self.piece(Piece::Records(
            feed::control_frame::Frame::SnapshotChunk(chunk).into(),
        ))
        .await
    }

    async fn spool(&mut self, spool: &Arc<Spool>) -> Result<(), NoSnapshot> {
        if self.begin(spool.place(), spool.records()).await.is_none() {
            return Ok(());
        }
        let mut at = 0;
        while let Some(block) = Spool::read(spool, at).await? {
            at = block.next;
            let sent = if self.scope.is_everything() {
                self.sent += u64::from(block.records);
                self.piece(Piece::Records(Outgoing::Encoded(block.frame))).await
            } else {
                let frame = feed::ControlFrame::decode(block.frame).ok();
                let Some(feed::control_frame::Frame::SnapshotChunk(chunk)) =
                    frame.and_then(|frame| frame.frame)
                else {
                    return Err(NoSnapshot::Broken("a block is no piece of a snapshot"));
                };
                self.chunk(chunk).await
            };
            if sent.is_none() {
                return Ok(());
            }
        }
        self.end(spool.place()).await;
        Ok(())
    }
}

/// Cuts a batch into pieces that travel.
fn pieces(batch: &[Record]) -> Vec<feed::SnapshotChunk> {
    let (mut pieces, mut chunk, mut bytes) = (Vec::new(), feed::SnapshotChunk::default(), 0);
    for record in batch {
        let record = feed::Record::from(record);
        let length = record.encoded_len();
        if bytes + length > BYTES_A_PIECE && !chunk.records.is_empty() {
            pieces.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += length;
        chunk.records.push(record);
    }
    if !chunk.records.is_empty() {
        pieces.push(chunk);
    }
    pieces
}
