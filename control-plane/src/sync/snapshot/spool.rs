//! One snapshot in a file, written while it is read.
//!
//! The file has no name: what is left of it goes with the last who reads it, also when the program is killed. It is a
//! row of blocks; each is a frame as it travels, behind its length, the number of its records and a checksum, so that
//! a disk that lies ends a stream and puts nothing false in force. What it holds is what gateways get: no secret.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyward_contract::{Record, feed};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{LONGEST_USE, MOST_BEHIND, NoSnapshot, USE_FOR_MAKING, WORTH_KEEPING, pieces};
use crate::store::Store;
use crate::store::changes::Place;
use crate::store::records::walk::Walk;

/// Where the files are made.
pub(in crate::sync) type Folder = PathBuf;

const HEAD: usize = 16;
/// No block is longer: a length beyond it is none that was written.
const LONGEST_BLOCK: usize = 64 * 1024 * 1024;

/// Beside the database where that is a file; else where the system has temporary files (`TMPDIR`).
pub(in crate::sync) fn folder(store: &Store) -> Folder {
    match store.folder() {
        Some(folder) if folder == Path::new("") => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => std::env::temp_dir(),
    }
}

/// A snapshot that is being written, or was.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    place: Place,
    records: u64,
    began: Instant,
    took: OnceLock<Duration>,
    written: watch::Sender<Written>,
    error: Mutex<Option<io::Error>>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    UpTo(u64),
    Whole(u64),
    Failed,
}

/// A piece of it.
#[derive(Debug)]
pub(super) struct Block {
    /// An encoded `ControlFrame`.
    pub(super) frame: Bytes,
    pub(super) records: u32,
    /// Where the next one begins.
    pub(super) next: u64,
}

impl Spool {
    /// Begins to write what a pass brings; the permit is given back when it is over.
    ///
    /// # Errors
    /// When no file can be made.
    pub(super) fn begin(
        folder: &Path,
        walk: Walk,
        permit: Option<OwnedSemaphorePermit>,
    ) -> io::Result<Arc<Self>> {
        Ok(Self::over(nameless(folder)?, walk, permit))
    }

    pub(super) fn over(file: File, walk: Walk, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let spool = Arc::new(Self {
            file,
            place: walk.place,
            records: walk.records,
            began: Instant::now(),
            took: OnceLock::new(),
            written: watch::Sender::new(Written::UpTo(0)),
            error: Mutex::default(),
        });
        let writing = Arc::clone(&spool);
        tokio::spawn(async move {
            let written = writing.write(walk).await;
            drop(permit);
            let end = match written {
                Ok(end) => Written::Whole(end),
                Err(error) => {
                    tracing::error!(%error, "a snapshot can't be written");
                    if let NoSnapshot::File(error) = error {
                        *writing.error.lock() = Some(error);
                    }
                    Written::Failed
                }
            };
            let took = *writing.took.get_or_init(|| writing.began.elapsed());
            metrics::histogram!("keyward_sync_snapshot_seconds").record(took.as_secs_f64());
            tracing::info!(
                revision = writing.place.revision,
                records = writing.records,
                took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "a snapshot was read"
            );
            writing.written.send_replace(end);
        });
        spool
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn has_failed(&self) -> bool {
        *self.written.borrow() == Written::Failed
    }

    /// Why it could not be written, if it was the file's fault; said once.
    pub(super) fn file_error(&self) -> Option<io::Error> {
        self.error.lock().take()
    }

    /// Whether a gateway that needs this revision at least is as well off with it as with a new one.
    pub(super) fn serves(&self, least: u64, head: u64) -> bool {
        let state = *self.written.borrow();
        if self.place.revision < least || state == Written::Failed {
            return false;
        }
        let behind = head.saturating_sub(self.place.revision);
        let took = match (state, self.took.get()) {
            (Written::Whole(_), Some(took)) => *took,
            _ => return behind <= MOST_BEHIND,
        };
        let longest = took.saturating_mul(USE_FOR_MAKING).min(LONGEST_USE);
        behind == 0 || (took >= WORTH_KEEPING && self.began.elapsed() <= longest && behind <= MOST_BEHIND)
    }

    /// The block at a place, once it is written; `None` at the end.
    pub(super) async fn read(spool: &Arc<Self>, at: u64) -> Result<Option<Block>, NoSnapshot> {
        let mut written = spool.written.subscribe();
        let reached = |written: &Written| match written {
            Written::UpTo(end) => at < *end,
            Written::Whole(_) | Written::Failed => true,
        };
        // Its sender lives in the spool that we hold.
        let written = match written.wait_for(reached).await {
            Ok(written) => *written,
            Err(_) => Written::Failed,
        };
        match written {
            Written::Failed => return Err(NoSnapshot::Broken("its reading or writing has failed")),
            Written::Whole(end) if at >= end => return Ok(None),
            Written::Whole(_) | Written::UpTo(_) => {}
        }
        let reading = Arc::clone(spool);
        blocking(move || reading.block(at)).await.map(Some)
    }

    fn block(&self, at: u64) -> Result<Block, NoSnapshot> {
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, at)?;
        let [l0, l1, l2, l3, r0, r1, r2, r3, check @ ..] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > LONGEST_BLOCK {
            return Err(NoSnapshot::Broken("a block of its file is damaged"));
        }
        let mut frame = vec![0; length];
        let begins = at.saturating_add(HEAD as u64);
        self.file.read_exact_at(&mut frame, begins)?;
        if checksum(&frame) != check {
            return Err(NoSnapshot::Broken("a block of its file is damaged"));
        }
        Ok(Block {
            frame: frame.into(),
            records: u32::from_le_bytes([r0, r1, r2, r3]),
            next: begins.saturating_add(length as u64),
        })
    }

    async fn write(self: &Arc<Self>, mut walk: Walk) -> Result<u64, NoSnapshot> {
        let (mut end, mut records) = (0, 0);
        while let Some(batch) = walk.next().await {
            let batch = batch?;
            records += batch.len() as u64;
            let writing = Arc::clone(self);
            end = blocking(move || writing.append(&batch, end)).await?;
            self.written.send_replace(Written::UpTo(end));
        }
        if records != self.records {
            return Err(NoSnapshot::Broken("the database had fewer records than it said"));
        }
        Ok(end)
    }

    /// Writes a batch at the end; answers where the end is then.
    fn append(&self, batch: &[Record], mut end: u64) -> Result<u64, NoSnapshot> {
        for chunk in pieces(batch) {
            let records = u32::try_from(chunk.records.len()).unwrap_or(u32::MAX);
            let frame = feed::ControlFrame {
                frame: Some(feed::control_frame::Frame::SnapshotChunk(chunk)),
            };
            let length = frame.encoded_len();
            let mut block = Vec::with_capacity(HEAD + length);
            block.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            block.extend_from_slice(&records.to_le_bytes());
            block.extend_from_slice(&[0; 8]);
            frame
                .encode(&mut block)
                .map_err(|_| NoSnapshot::Broken("a record can't be encoded"))?;
            let (head, body) = block.split_at_mut(HEAD);
            if let Some(check) = head.last_chunk_mut() {
                *check = checksum(body);
            }
            self.file.write_all_at(&block, end)?;
            end = end.saturating_add(block.len() as u64);
        }
        Ok(end)
    }
}

#[cfg(test)]
impl Spool {
    /// The same, had it taken so long to make.
    pub(super) fn as_if_it_took(&self, took: Duration) -> Self {
        Self {
            file: self.file.try_clone().unwrap(),
            place: self.place,
            records: self.records,
            began: self.began,
            took: took.into(),
            written: watch::Sender::new(*self.written.borrow()),
            error: Mutex::default(),
        }
    }

    /// Changes one byte of the first record.
    pub(super) fn damage(&self) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, 40).unwrap();
        self.file.write_all_at(&[byte[0] ^ 1], 40).unwrap();
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let [c0, c1, c2, c3, c4, c5, c6, c7, ..] = *blake3::hash(bytes).as_bytes();
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

/// A file of its own for who made it, that has lost its name before anything is in it.
fn nameless(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".keyward-snapshot-{}", uuid::Uuid::now_v7()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NoSnapshot> + Send + 'static,
) -> Result<T, NoSnapshot> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(NoSnapshot::Broken("a task of it failed")))
}
