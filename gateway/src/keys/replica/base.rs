//! A whole key set in one file that never changes: blocks of about 4 KiB with records sorted by place, the list
//! of the blocks, and a trailer that says what it is. Each block has a tag; the list, with the tags, has one; the trailer
//! has one over that. So nothing of it is believed before its tag is seen to be right, at the start and at every later read.
//!
//! In memory is the list: 40 bytes for each block, some 9 MB for ten million keys. A look-up is a binary
//! search in it, one read of one block from the page cache, its tag, and a walk through the block: about 6 µs.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::at;
use super::record::{Bytes, Place, put_bytes, put_number};
use super::tag::{BlockTag, Kind, Tag, TagKey};
use super::{Position, ReplicaError, Result};

/// The first bytes of the file, and its last ones.
pub(super) const MAGIC: [u8; 8] = *b"KEYWARD1";
/// Of a block in the list.
const LISTED: usize = 28;
/// Of the trailer at most: the position's texts are short.
const LONGEST_TRAILER: u64 = 4096;
/// Length of the trailer, and the magic.
const END: u64 = 4 + MAGIC.len() as u64;
/// What is read at once when everything is.
const STRETCH: u64 = 1 << 20;
/// More threads wait for memory.
const THREADS: usize = 4;
/// A smaller file is checked sooner than threads are started.
const WORTH_THREADS: u64 = 4 << 20;

/// Where a block lies, and from which place on it holds records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The first eight bytes of its first record's place.
    pub(super) head: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) tag: BlockTag,
}

/// What a base says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) position: Position,
    pub(super) keys: u64,
    /// The journal that goes on from here.
    pub(super) journal: u64,
    /// What that journal's first frame is chained to.
    pub(super) chain: Tag,
}

/// A base that was found to be whole.
#[derive(Debug)]
pub(super) struct Base {
    file: File,
    path: PathBuf,
    blocks: Vec<Block>,
    pub(super) trailer: Trailer,
    pub(super) bytes: u64,
}

/// The first eight bytes of a place: they order blocks.
pub(super) fn head_of(place: &Place) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *place;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Base {
    /// Opens a base and reads all of it once.
    ///
    /// # Errors
    /// [`ReplicaError::Damaged`] when a tag is wrong.
    pub(super) fn open(path: &Path, key: &TagKey) -> Result<Self> {
        let base = Self::list(path, key)?;
        base.check(key)?;
        Ok(base)
    }

    /// Opens a base without reading its blocks: for one that was just written.
    pub(super) fn list(path: &Path, key: &TagKey) -> Result<Self> {
        let file = File::open(path).map_err(|error| at(path, error))?;
        let bytes = file.metadata().map_err(|error| at(path, error))?.len();
        let damaged = || ReplicaError::Damaged("the end of the base is not what was written".into());
        let read = |offset: u64, count: u64| -> Result<Vec<u8>> {
            let mut read = vec![0; usize::try_from(count).map_err(|_| damaged())?];
            file.read_exact_at(&mut read, offset)
                .map_err(|error| at(path, error))?;
            Ok(read)
        };
        let end = read(bytes.checked_sub(END).ok_or_else(damaged)?, END)?;
        let mut end = Bytes(&end);
        let length = u64::from(u32::from_le_bytes(end.array().ok_or_else(damaged)?));
        let trailer_at = (bytes - END).checked_sub(length).ok_or_else(damaged)?;
        if end.0 != MAGIC || length > LONGEST_TRAILER {
            return Err(damaged());
        }
        let trailer = read(trailer_at, length)?;
        let (trailer, blocks, index_tag) = Trailer::decode(&trailer, key).ok_or_else(damaged)?;
        // From here on the trailer is ours: what it says was written by who holds the key.
        let listed = blocks.checked_mul(LISTED as u64).ok_or_else(damaged)?;
        let index_at = trailer_at.checked_sub(listed).ok_or_else(damaged)?;
        let index = read(index_at, listed)?;
        if !key.is_tag(Kind::Index, &[&index], &index_tag) {
            return Err(damaged());
        }
        let blocks = read_index(&index, index_at).ok_or_else(damaged)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            blocks,
            trailer,
            bytes,
        })
    }

    fn check(&self, key: &TagKey) -> Result<()> {
        let threads = match std::thread::available_parallelism() {
            Ok(threads) if self.bytes >= WORTH_THREADS => threads.get().min(THREADS),
            Ok(_) | Err(_) => 1,
        };
        let each = self.blocks.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let mut parts = self.blocks.chunks(each);
            let first = parts.next().unwrap_or_default();
            let others: Vec<_> = parts
                .map(|part| scope.spawn(|| self.check_part(part, key)))
                .collect();
            let mut checked = self.check_part(first, key);
            for other in others {
                let other = other
                    .join()
                    .unwrap_or_else(|_| Err(ReplicaError::Damaged("a check panicked".into())));
                checked = checked.and(other);
            }
            checked
        })
    }

    fn check_part(&self, part: &[Block], key: &TagKey) -> Result<()> {
        let mut stretch = Vec::new();
        let mut rest = part;
        while let Some(first) = rest.first() {
            let together = rest
                .iter()
                .take_while(|block| block.offset + u64::from(block.length) - first.offset <= STRETCH)
                .count()
                .max(1);
            let (now, later) = rest.split_at(together);
            let end = now.last().map_or(0, |last| last.offset + u64::from(last.length));
            stretch.resize((end - first.offset) as usize, 0);
            self.read(first.offset, &mut stretch)?;
            let mut bytes = Bytes(&stretch);
            for block in now {
                let read = bytes.take(block.length as usize).unwrap_or_default();
                self.is_whole(block, read, key)?;
            }
            rest = later;
        }
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| at(&self.path, error))
    }

    fn is_whole(&self, block: &Block, bytes: &[u8], key: &TagKey) -> Result<()> {
        if blake3_equal(key.block(block.offset, bytes), block.tag) {
            return Ok(());
        }
        let offset = block.offset;
        Err(ReplicaError::Damaged(format!(
            "the block at {offset} is not what was written"
        )))
    }

    /// The bytes of a block, seen to be whole.
    pub(super) fn block(&self, number: usize, key: &TagKey, bytes: &mut Vec<u8>) -> Result<bool> {
        let Some(block) = self.blocks.get(number) else {
            return Ok(false);
        };
        bytes.resize(block.length as usize, 0);
        self.read(block.offset, bytes)?;
        self.is_whole(block, bytes, key)?;
        Ok(true)
    }

    /// What is stored at this place.
    pub(super) fn value(&self, place: &Place, key: &TagKey) -> Result<Option<Box<[u8]>>> {
        let head = head_of(place);
        // The block before the first that begins at this head or later; more than one only when heads are the same.
        let first = self
            .blocks
            .partition_point(|block| block.head < head)
            .saturating_sub(1);
        let mut bytes = Vec::new();
        for (number, block) in self.blocks.iter().enumerate().skip(first) {
            if block.head > head {
                break;
            }
            self.block(number, key, &mut bytes)?;
            let mut rest = Bytes(&bytes);
            while let Some((at, value)) = rest.entry() {
                if at == *place {
                    return Ok(Some(value.into()));
                }
                if at > *place {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn blake3_equal(one: BlockTag, other: BlockTag) -> bool {
    u128::from_ne_bytes(one) ^ u128::from_ne_bytes(other) == 0
}

/// The list of blocks as it is written.
pub(super) fn write_index(blocks: &[Block]) -> Vec<u8> {
    let mut index = Vec::with_capacity(blocks.len() * LISTED);
    for block in blocks {
        index.extend_from_slice(&block.head.to_le_bytes());
        index.extend_from_slice(&block.length.to_le_bytes());
        index.extend_from_slice(&block.tag);
    }
    index
}

/// Blocks lie one after the other, from the magic to the list.
fn read_index(index: &[u8], end: u64) -> Option<Vec<Block>> {
    let mut offset = MAGIC.len() as u64;
    let mut blocks = Vec::with_capacity(index.len() / LISTED);
    let mut rest = Bytes(index);
    while !rest.0.is_empty() {
        let block = Block {
            head: u64::from_le_bytes(rest.array()?),
            offset,
            length: u32::from_le_bytes(rest.array()?),
            tag: rest.array()?,
        };
        offset = offset.checked_add(block.length.into())?;
        blocks.push(block);
    }
    (offset == end).then_some(blocks)
}

impl Trailer {
    /// As it is written: the trailer, its tag, its length.
    pub(super) fn encode(&self, blocks: &[Block], index: &[u8], key: &TagKey) -> Vec<u8> {
        let mut trailer = Vec::new();
        for number in [
            blocks.len() as u64,
            self.keys,
            self.journal,
            self.position.revision,
        ] {
            put_number(&mut trailer, number);
        }
        let Position {
            feed_epoch,
            history,
            scope,
            ..
        } = &self.position;
        for bytes in [feed_epoch.as_bytes(), history, scope.as_bytes()] {
            put_bytes(&mut trailer, bytes);
        }
        trailer.extend_from_slice(&self.chain);
        trailer.extend_from_slice(&key.tag(Kind::Index, &[index]));
        trailer.extend_from_slice(&key.tag(Kind::Trailer, &[&MAGIC, &trailer]));
        let length = trailer.len() as u32;
        trailer.extend_from_slice(&length.to_le_bytes());
        trailer.extend_from_slice(&MAGIC);
        trailer
    }

    /// The trailer, how many blocks there are, and the tag of their list.
    fn decode(bytes: &[u8], key: &TagKey) -> Option<(Self, u64, Tag)> {
        let (body, tag) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if !key.is_tag(Kind::Trailer, &[&MAGIC, body], tag) {
            return None;
        }
        let mut rest = Bytes(body);
        let [blocks, keys, journal, revision] =
            [rest.number()?, rest.number()?, rest.number()?, rest.number()?];
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let position = Position {
            feed_epoch: text(rest.bytes()?)?,
            revision,
            history: rest.bytes()?.to_vec(),
            scope: text(rest.bytes()?)?,
        };
        let (chain, index) = (rest.array()?, rest.array()?);
        let trailer = Self {
            position,
            keys,
            journal,
            chain,
        };
        rest.0.is_empty().then_some((trailer, blocks, index))
    }
}
