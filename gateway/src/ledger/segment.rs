//! A segment: a file of one worker's records, of fixed size, appended to and never shortened.
//!
//! The whole file is allocated before it is used: a disk that fills up later refuses the next segment and never
//! breaks this one. A record's place is used once, so no value of one counter can be taken for another's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::counter::CounterKey;
use super::mapped::{Mapping, PAGE, Words};
use super::record::{self, Place, Record};

/// Bytes of a segment's file.
pub(super) const BYTES: usize = 1 << 20;
/// Where the records begin.
pub(super) const HEADER: usize = PAGE;
/// Records of a segment.
pub(super) const RECORDS: usize = (BYTES - HEADER) / record::BYTES;
/// From so many on the next segment is made ready.
const NEARLY_FULL: usize = RECORDS / 4 * 3;
/// What its file is called.
pub(super) const SUFFIX: &str = "seg";

const MAGIC: u64 = u64::from_le_bytes(*b"KWSEGMT1");

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    path: PathBuf,
    mapping: Arc<Mapping>,
    header: Words<5>,
    used: AtomicUsize,
}

impl Segment {
    /// Makes the file `<worker>-<number>.seg`.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn create(folder: &Path, worker: u32, number: u64, epoch: u64) -> io::Result<Arc<Self>> {
        let path = folder.join(format!("{worker}-{number}.{SUFFIX}"));
        let mapped = preallocated(&path, BYTES).and_then(|file| Mapping::of(&file, BYTES));
        let mapping = mapped.inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })?;
        let header: Words<5> = mapping.words(0).ok_or(io::ErrorKind::InvalidInput)?;
        for (place, word) in header.iter().zip([MAGIC, epoch, u64::from(worker), number]) {
            place.store(word, Ordering::Relaxed);
        }
        Ok(Arc::new(Self {
            number,
            path,
            mapping,
            header,
            used: AtomicUsize::new(0),
        }))
    }

    /// Takes the next record; `None` when the segment is full. To be called by its worker alone.
    pub(super) fn append(&self, key: &CounterKey, epoch: u64) -> Option<Record> {
        let index = self.used.load(Ordering::Relaxed);
        if index >= RECORDS {
            return None;
        }
        let words = self.mapping.words(HEADER + index * record::BYTES)?;
        let place = Place {
            segment: self.number,
            index: u64::try_from(index).ok()?,
        };
        let record = Record::begin(words, Some(place), key, epoch);
        self.used.store(index + 1, Ordering::Relaxed);
        self.header[4].store(place.index + 1, Ordering::Relaxed);
        self.header.touch();
        Some(record)
    }

    /// Whether the next one is soon needed.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= NEARLY_FULL
    }

    /// Whether nothing but `holder` knows it, and no record of it is in use.
    pub(super) fn is_free(holder: &Arc<Self>) -> bool {
        // One is `mapping`, the other `header`.
        Arc::strong_count(holder) == 1 && Arc::strong_count(&holder.mapping) == 2
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn sync(&self) -> io::Result<bool> {
        self.mapping.sync()
    }

    /// Deletes the file.
    ///
    /// # Errors
    /// When it can't be deleted.
    pub(super) fn delete(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// A new file with all its blocks.
///
/// # Errors
/// When there is no room for it.
pub(super) fn preallocated(path: &Path, bytes: usize) -> io::Result<File> {
    let file = private().read(true).write(true).create_new(true).open(path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64) {
        Ok(()) => Ok(file),
        // The file system can't; writing is the other way to have every block.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            (&file).write_all(&vec![0; bytes])?;
            Ok(file)
        }
        Err(errno) => Err(errno.into()),
    }
    .inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Who called what is nobody else's business.
pub(super) fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// What the header of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whether it is one of this start.
    pub(super) is_sound: bool,
    /// Records that were begun.
    pub(super) used: usize,
}

impl Header {
    /// Reads it.
    pub(super) fn read(bytes: &[u8], epoch: u64) -> Self {
        let word = |at: usize| {
            let bytes = bytes.get(at * 8..)?.first_chunk()?;
            Some(u64::from_ne_bytes(*bytes))
        };
        let used = word(4).and_then(|used| usize::try_from(used).ok());
        let used = used.filter(|used| *used <= RECORDS);
        Self {
            is_sound: word(0) == Some(MAGIC) && word(1) == Some(epoch) && used.is_some(),
            used: used.unwrap_or(RECORDS),
        }
    }
}
