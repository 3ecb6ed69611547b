//! Writing a base: records that come in order, cut into blocks. Holds the list of blocks, with two bytes of each record,
//! and one block.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::base::{Block, Blocks, MAGIC, Trailer, fingerprint_of, head_of};
use super::folder::{self, at};
use super::record::{KEY, Place, put_entry};
use super::tag::TagKey;
use super::{ReplicaError, Result};

/// A block is closed once it is this long.
const BLOCK: usize = 3 << 10;
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// A base that is being written. Its file is a draft that nothing names.
#[derive(Debug)]
pub(super) struct BaseWriter<'k> {
    out: BufWriter<File>,
    path: PathBuf,
    key: &'k TagKey,
    list: Blocks,
    block: Vec<u8>,
    head: u64,
    /// Where the fingerprints of the block begin.
    prints: u32,
    offset: u64,
    keys: u64,
}

impl<'k> BaseWriter<'k> {
    pub(super) fn create(path: &Path, key: &'k TagKey) -> Result<Self> {
        let file = folder::options().truncate(true).open(path);
        let mut out = BufWriter::with_capacity(WRITTEN_AT_ONCE, file.map_err(|error| at(path, error))?);
        out.write_all(&MAGIC).map_err(|error| at(path, error))?;
        Ok(Self {
            out,
            path: path.to_owned(),
            key,
            list: Blocks::default(),
            block: Vec::with_capacity(2 * BLOCK),
            head: 0,
            prints: 0,
            offset: MAGIC.len() as u64,
            keys: 0,
        })
    }

    /// Adds a record. Places must come in order, each once.
    pub(super) fn put(&mut self, place: &Place, value: &[u8]) -> Result<()> {
        if self.block.is_empty() {
            self.head = head_of(place);
        }
        self.list.prints.push(fingerprint_of(place));
        put_entry(&mut self.block, place, value);
        self.keys += u64::from(value.first() == Some(&KEY));
        if self.block.len() >= BLOCK {
            self.close_block()?;
        }
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        let length = self.block.len() as u32;
        let next = u32::try_from(self.list.prints.len())
            .map_err(|_| ReplicaError::Record("there are more than four thousand million".into()))?;
        self.list.blocks.push(Block {
            prints: std::mem::replace(&mut self.prints, next),
            head: self.head,
            offset: self.offset,
            length,
            tag: self.key.block(self.offset, &self.block),
        });
        self.out
            .write_all(&self.block)
            .map_err(|error| at(&self.path, error))?;
        self.offset += u64::from(length);
        self.block.clear();
        Ok(())
    }

    /// Writes list and trailer; durable when it returns.
    pub(super) fn finish(mut self, mut trailer: Trailer) -> Result<()> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        trailer.keys = self.keys;
        let index = self.list.encode();
        let end = trailer.encode(&index, self.key);
        let out = &mut self.out;
        out.write_all(&index)
            .and_then(|()| out.write_all(&end))
            .and_then(|()| out.flush())
            .and_then(|()| out.get_ref().sync_all())
            .map_err(|error| at(&self.path, error))
    }
}
