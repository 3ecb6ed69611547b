//! A snapshot on its way to disk: records come in any order and go out sorted. What doesn't fit into
//! [`MEMORY`] is sorted piece by piece into a file beside, and merged at the end; so memory doesn't grow with the snapshot.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::base::Trailer;
use super::folder::{self, DRAFTS, at};
use super::merge::{Source, merge};
use super::record::{LONGEST, Place, put_entry};
use super::tag::TagKey;
use super::writer::BaseWriter;
use super::{ReplicaError, Result};

/// Records that are held until they are sorted.
const MEMORY: usize = if cfg!(test) { 16 << 10 } else { 48 << 20 };
/// Read ahead of each piece when they are merged.
const AHEAD: usize = 128 << 10;

/// A base to be. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(in crate::keys) struct Draft {
    draft: PathBuf,
    runs: PathBuf,
    values: Vec<u8>,
    records: Vec<(Place, Range<u32>)>,
    spilled: Option<Arc<File>>,
    /// Where each piece lies in `runs`.
    pieces: Vec<Range<u64>>,
}

impl Draft {
    /// Makes no file yet.
    pub(super) fn new(folder: &Path, id: &str) -> Self {
        let [draft, runs] = DRAFTS.map(|extension| folder.join(format!("{id}.{extension}")));
        Self {
            draft,
            runs,
            values: Vec::new(),
            records: Vec::new(),
            spilled: None,
            pieces: Vec::new(),
        }
    }

    /// Adds a record; one that comes again counts as it came last.
    pub(super) fn put(&mut self, place: Place, value: &[u8]) -> Result<()> {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.records.push((place, start as u32..self.values.len() as u32));
        let held = self.values.len() + self.records.len() * size_of::<(Place, Range<u32>)>();
        if held >= MEMORY { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let failed = |error| at(&self.runs, error);
        let file = match &self.spilled {
            Some(file) => Arc::clone(file),
            None => {
                let file = folder::options()
                    .truncate(true)
                    .open(&self.runs)
                    .map_err(failed)?;
                Arc::clone(self.spilled.insert(Arc::new(file)))
            }
        };
        self.records.sort_by_key(|record| record.0);
        let mut out = BufWriter::with_capacity(1 << 20, &*file);
        let start = self.pieces.last().map_or(0, |piece| piece.end);
        let (mut end, mut entry) = (start, Vec::new());
        for (place, value) in &self.records {
            entry.clear();
            let value = self.values.get(value.start as usize..value.end as usize);
            put_entry(&mut entry, place, value.unwrap_or_default());
            out.write_all(&entry).map_err(failed)?;
            end += entry.len() as u64;
        }
        out.flush().map_err(failed)?;
        self.pieces.push(start..end);
        self.records.clear();
        self.values.clear();
        Ok(())
    }

    /// Writes the base, under the name that it will have; durable when it returns, and named by nothing.
    pub(super) fn finish(mut self, name: &Path, trailer: Trailer, key: &TagKey) -> Result<()> {
        let mut sources: Vec<Box<dyn Source>> = Vec::with_capacity(self.pieces.len() + 1);
        if let Some(file) = &self.spilled {
            for piece in &self.pieces {
                sources.push(Box::new(Piece::new(Arc::clone(file), piece.clone(), &self.runs)?));
            }
        }
        self.records.sort_by_key(|record| record.0);
        sources.push(Box::new(Held::new(
            std::mem::take(&mut self.records),
            std::mem::take(&mut self.values),
        )));
        let mut out = BaseWriter::create(&self.draft, key)?;
        merge(&mut sources, |place, value| out.put(place, value))?;
        out.finish(trailer)?;
        std::fs::rename(&self.draft, name).map_err(|error| at(name, error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for path in [&self.draft, &self.runs] {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Sorted records in memory; of several at one place the last.
struct Held {
    records: std::iter::Peekable<std::vec::IntoIter<(Place, Range<u32>)>>,
    values: Vec<u8>,
    at: Option<(Place, Range<u32>)>,
}

impl Held {
    fn new(records: Vec<(Place, Range<u32>)>, values: Vec<u8>) -> Self {
        let mut held = Self {
            records: records.into_iter().peekable(),
            values,
            at: None,
        };
        held.step();
        held
    }

    fn step(&mut self) {
        self.at = self.records.next();
        while let (Some((place, _)), Some((next, _))) = (&self.at, self.records.peek())
            && place == next
        {
            self.at = self.records.next();
        }
    }
}

impl Source for Held {
    fn place(&self) -> Option<&Place> {
        self.at.as_ref().map(|(place, _)| place)
    }

    fn value(&self) -> &[u8] {
        let range = self
            .at
            .as_ref()
            .map(|(_, range)| range.start as usize..range.end as usize);
        self.values.get(range.unwrap_or_default()).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<()> {
        self.step();
        Ok(())
    }
}

/// Sorted records in the file of pieces; of several at one place the last.
struct Piece {
    bytes: BufReader<Stretch>,
    path: PathBuf,
    at: Option<(Place, Vec<u8>)>,
    next: Option<(Place, Vec<u8>)>,
}

impl Piece {
    fn new(file: Arc<File>, piece: Range<u64>, path: &Path) -> Result<Self> {
        let mut piece = Self {
            bytes: BufReader::with_capacity(AHEAD, Stretch { file, left: piece }),
            path: path.to_owned(),
            at: None,
            next: None,
        };
        piece.next = piece.read()?;
        piece.advance()?;
        Ok(piece)
    }

    fn read(&mut self) -> Result<Option<(Place, Vec<u8>)>> {
        let failed = |error| at(&self.path, error);
        if self.bytes.fill_buf().map_err(failed)?.is_empty() {
            return Ok(None);
        }
        let mut place = [0; 32];
        self.bytes.read_exact(&mut place).map_err(failed)?;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let mut byte = [0];
            self.bytes.read_exact(&mut byte).map_err(failed)?;
            let [byte] = byte;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(ReplicaError::Damaged("a piece of a snapshot".into()));
            }
        }
        if length > LONGEST {
            return Err(ReplicaError::Damaged("a piece of a snapshot".into()));
        }
        let mut value = vec![0; length];
        self.bytes.read_exact(&mut value).map_err(failed)?;
        Ok(Some((place, value)))
    }
}

impl Source for Piece {
    fn place(&self) -> Option<&Place> {
        self.at.as_ref().map(|(place, _)| place)
    }

    fn value(&self) -> &[u8] {
        self.at.as_ref().map(|(_, value)| &**value).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<()> {
        loop {
            self.at = self.next.take();
            self.next = self.read()?;
            match (&self.at, &self.next) {
                (Some((place, _)), Some((next, _))) if place == next => {}
                _ => return Ok(()),
            }
        }
    }
}

/// A part of a file, read from its beginning to its end.
struct Stretch {
    file: Arc<File>,
    left: Range<u64>,
}

impl Read for Stretch {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
        let count = left.min(bytes.len());
        let read = self
            .file
            .read_at(bytes.get_mut(..count).unwrap_or_default(), self.left.start)?;
        self.left.start += read as u64;
        Ok(read)
    }
}
