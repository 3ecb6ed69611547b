//! Changes since the base, one frame a batch, appended and durable before they count.
//!
//! A frame's tag is chained to the one before, so frames can be neither changed, moved nor left out; only
//! the last ones can be cut off, as a crash does, and what was acknowledged can't ([`super::acknowledged`]). A batch costs
//! one write and one `fdatasync`, whatever the key set's size. A write that failed is cut off again before the next.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::{self, at};
use super::overlay::Overlay;
use super::record::{Bytes, Place, put_bytes, put_entry, put_number};
use super::tag::{Kind, Tag, TagKey};
use super::{Position, ReplicaError, Result};

const MAGIC: [u8; 8] = *b"KEYWARDJ";
const TAG: usize = 32;

/// A journal that is appended to.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    pub(super) number: u64,
    /// Up to here it is whole.
    pub(super) length: u64,
    /// The tag of the last frame, or what the first is to be chained to.
    pub(super) chain: Tag,
    /// A write failed: what lies behind `length` is to be cut off first.
    is_torn: bool,
}

/// A batch as it is about to be written.
#[derive(Debug)]
pub(super) struct Batch<'b> {
    pub(super) position: &'b Position,
    /// Keys that are held after it.
    pub(super) keys: u64,
    pub(super) records: &'b [(Place, Vec<u8>)],
}

/// What journals add to a base.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) position: Position,
    pub(super) keys: u64,
    pub(super) journal: Journal,
}

impl Journal {
    /// Begins one. Its name is durable when this returns.
    pub(super) fn create(folder: &Path, number: u64, chain: Tag) -> Result<Self> {
        let path = folder.join(folder::journal_name(number));
        let file = folder::options()
            .truncate(true)
            .open(&path)
            .and_then(|file| file.write_all_at(&MAGIC, 0).map(|()| file))
            .and_then(|file| file.sync_all().map(|()| file))
            .map_err(|error| at(&path, error))?;
        folder::sync(folder)?;
        Ok(Self {
            file,
            path,
            number,
            length: MAGIC.len() as u64,
            chain,
            is_torn: false,
        })
    }

    /// Adds a batch, durably.
    ///
    /// # Errors
    /// When the disk fails or is full; then nothing was added.
    pub(super) fn append(&mut self, batch: &Batch<'_>, key: &TagKey) -> Result<()> {
        self.mend()?;
        let mut frame = vec![0; 4];
        put_number(&mut frame, batch.position.revision);
        put_bytes(&mut frame, &batch.position.history);
        put_number(&mut frame, batch.keys);
        for (place, value) in batch.records {
            put_entry(&mut frame, place, value);
        }
        let (length, body) = frame.split_at_mut(4);
        let bytes =
            u32::try_from(body.len()).map_err(|_| ReplicaError::Record("a change is too large".into()))?;
        length.copy_from_slice(&bytes.to_le_bytes());
        let tag = key.tag(Kind::Frame, &[&self.chain, body]);
        frame.extend_from_slice(&tag);
        self.is_torn = true;
        self.file
            .write_all_at(&frame, self.length)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| at(&self.path, error))?;
        self.is_torn = false;
        self.length += frame.len() as u64;
        self.chain = tag;
        Ok(())
    }

    /// Cuts off what a failed write left. After a failed sync nobody knows what is on the disk, so it is also
    /// synced anew.
    fn mend(&mut self) -> Result<()> {
        if self.is_torn {
            self.file
                .set_len(self.length)
                .and_then(|()| self.file.sync_all())
                .map_err(|error| at(&self.path, error))?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Reads what follows a base, from its journal on, and goes on with the last. Frames behind one that is not
    /// whole are left out: nobody was told of them, or the acknowledged revision shows that they are missing.
    pub(super) fn replay(
        folder: &Path,
        base: &super::base::Trailer,
        overlay: &Overlay,
        key: &TagKey,
    ) -> Result<Replayed> {
        let mut replayed = Replayed {
            position: base.position.clone(),
            keys: base.keys,
            journal: Self::open(folder, base.journal, base.chain)?,
        };
        loop {
            let is_whole = replayed.read(overlay, key)?;
            // No journal of ours has the last number; a forged one is not gone round.
            let Some(number) = replayed.journal.number.checked_add(1).filter(|_| is_whole) else {
                break;
            };
            if !folder.join(folder::journal_name(number)).exists() {
                break;
            }
            let next = Self::open(folder, number, replayed.journal.chain)?;
            if !next.has_begun() {
                break;
            }
            replayed.journal = next;
        }
        Ok(replayed)
    }

    /// Whether its first bytes are there. A kill may come between its name and them; then nothing was ever in it.
    fn has_begun(&self) -> bool {
        let mut begins = [0; MAGIC.len()];
        self.file.read_exact_at(&mut begins, 0).is_ok() && begins == MAGIC
    }

    /// Cuts off what was not whole, so that it can be appended to.
    pub(super) fn settle(&mut self, folder: &Path) -> Result<()> {
        let length = self.file.metadata().map_err(|error| at(&self.path, error))?.len();
        self.is_torn = length != self.length;
        drop_later(folder, self.number);
        self.mend()
    }

    fn open(folder: &Path, number: u64, chain: Tag) -> Result<Self> {
        let path = folder.join(folder::journal_name(number));
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path);
        Ok(Self {
            file: file.map_err(|error| at(&path, error))?,
            path,
            number,
            length: MAGIC.len() as u64,
            chain,
            is_torn: false,
        })
    }
}

/// Journals behind one that was cut off: they follow nothing any more.
fn drop_later(folder: &Path, last: u64) {
    for number in last.saturating_add(1)..u64::MAX {
        if std::fs::remove_file(folder.join(folder::journal_name(number))).is_err() {
            return;
        }
    }
}

impl Replayed {
    /// Takes over all whole frames; whether there was nothing else.
    fn read(&mut self, overlay: &Overlay, key: &TagKey) -> Result<bool> {
        // It is as long as changes may get before they are merged into a base; longer ones are no journals of ours.
        let bytes = std::fs::read(&self.journal.path).map_err(|error| at(&self.journal.path, error))?;
        let mut rest = Bytes(&bytes);
        if rest.array() != Some(MAGIC) {
            return Err(ReplicaError::Damaged("a journal doesn't begin as one".into()));
        }
        while !rest.0.is_empty() {
            let Some(body) = frame(&mut rest, &mut self.journal.chain, key) else {
                return Ok(false);
            };
            self.take(body, overlay)
                .ok_or_else(|| ReplicaError::Damaged("a frame can't be read".into()))?;
            self.journal.length = (bytes.len() - rest.0.len()) as u64;
        }
        Ok(true)
    }

    fn take(&mut self, body: &[u8], overlay: &Overlay) -> Option<()> {
        let mut rest = Bytes(body);
        self.position.revision = rest.number()?;
        self.position.history = rest.bytes()?.to_vec();
        self.keys = rest.number()?;
        while !rest.0.is_empty() {
            let (place, value) = rest.entry()?;
            overlay.put(place, value);
        }
        Some(())
    }
}

/// The next frame, when it is whole and follows the one before.
fn frame<'b>(rest: &mut Bytes<'b>, chain: &mut Tag, key: &TagKey) -> Option<&'b [u8]> {
    let length = u32::from_le_bytes(rest.array()?);
    let body = rest.take(length as usize)?;
    let tag = rest.take(TAG)?;
    if !key.is_tag(Kind::Frame, &[&*chain, body], tag) {
        return None;
    }
    *chain = tag.try_into().ok()?;
    Some(body)
}
