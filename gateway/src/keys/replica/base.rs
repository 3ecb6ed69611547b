//! A whole key set in one file that never changes: blocks of about 4 KiB with records sorted by place, the list
//! of the blocks, and a trailer that says what it is. Each block has a tag; the list, with the tags, has one; the trailer
//! has one over that. So nothing of it is believed before its tag is seen to be right, at the start and at every later read.
//!
//! In memory is the list: 40 bytes for each block, and two of each record's place, its fingerprint; some 35 MB for ten
//! million keys. A look-up is a binary search in it and, when a fingerprint is the same, one read of one block from the
//! page cache, its tag, and a walk through the block: about 6 µs. Of the keys that are not held one in two
//! thousand gets so far.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::at;
use super::record::{Bytes, Place, put_bytes, put_number};
use super::tag::{BlockTag, Kind, Tag, TagKey};
use super::{Position, ReplicaError, Result};

/// The first bytes of the file, and its last ones.
pub(super) const MAGIC: [u8; 8] = *b"KEYWARD1";
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
    /// Where the fingerprints of its records begin.
    pub(super) prints: u32,
}

/// The blocks of a base, in order.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub(super) blocks: Vec<Block>,
    /// Two bytes of each record's place, in its order.
    pub(super) prints: Vec<Fingerprint>,
}

/// Bytes of a place that have no part in the order of blocks: of two keys the same once in 65 536.
pub(super) type Fingerprint = u16;

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
    list: Blocks,
    pub(super) trailer: Trailer,
    pub(super) bytes: u64,
}

/// The first eight bytes of a place: they order blocks.
pub(super) fn head_of(place: &Place) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *place;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

pub(super) fn fingerprint_of(place: &Place) -> Fingerprint {
    let [.., a, b] = *place;
    u16::from_be_bytes([a, b])
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
        let (trailer, listed, index_tag) = Trailer::decode(&trailer, key).ok_or_else(damaged)?;
        // From here on the trailer is ours: what it says was written by who holds the key.
        let index_at = trailer_at.checked_sub(listed).ok_or_else(damaged)?;
        let index = read(index_at, listed)?;
        if !key.is_tag(Kind::Index, &[&index], &index_tag) {
            return Err(damaged());
        }
        let list = Blocks::decode(&index, index_at).ok_or_else(damaged)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            list,
            trailer,
            bytes,
        })
    }

    fn check(&self, key: &TagKey) -> Result<()> {
        let threads = match std::thread::available_parallelism() {
            Ok(threads) if self.bytes >= WORTH_THREADS => threads.get().min(THREADS),
            Ok(_) | Err(_) => 1,
        };
        let each = self.list.blocks.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let mut parts = self.list.blocks.chunks(each);
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
        let Some(block) = self.list.blocks.get(number) else {
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
        let blocks = &self.list.blocks;
        // The block before the first that begins at this head or later; more than one only when heads are the same.
        let first = blocks
            .partition_point(|block| block.head < head)
            .saturating_sub(1);
        let mut bytes = Vec::new();
        for (number, block) in blocks.iter().enumerate().skip(first) {
            if block.head > head {
                break;
            }
            if !self.list.may_hold(number, fingerprint_of(place)) {
                continue;
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

impl Blocks {
    /// Whether a record with this fingerprint is in a block.
    fn may_hold(&self, number: usize, print: Fingerprint) -> bool {
        let begin = |number: usize| self.blocks.get(number).map(|block| block.prints as usize);
        let end = begin(number.saturating_add(1)).unwrap_or(self.prints.len());
        let prints = begin(number).and_then(|begin| self.prints.get(begin..end));
        prints.unwrap_or_default().contains(&print)
    }

    /// As it is written.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut index = Vec::with_capacity(self.blocks.len() * 30 + self.prints.len() * 2);
        let ends = self.blocks.iter().skip(1).map(|block| block.prints as usize);
        let ends = ends.chain([self.prints.len()]);
        for (block, end) in self.blocks.iter().zip(ends) {
            index.extend_from_slice(&block.head.to_le_bytes());
            index.extend_from_slice(&block.length.to_le_bytes());
            index.extend_from_slice(&block.tag);
            let prints = self.prints.get(block.prints as usize..end).unwrap_or_default();
            put_number(&mut index, prints.len() as u64);
            for print in prints {
                index.extend_from_slice(&print.to_le_bytes());
            }
        }
        index
    }

    /// Blocks lie one after the other, from the magic to the list, which begins at `end`.
    fn decode(index: &[u8], end: u64) -> Option<Self> {
        let mut offset = MAGIC.len() as u64;
        let mut list = Self::default();
        let mut rest = Bytes(index);
        while !rest.0.is_empty() {
            let block = Block {
                head: u64::from_le_bytes(rest.array()?),
                offset,
                length: u32::from_le_bytes(rest.array()?),
                tag: rest.array()?,
                prints: u32::try_from(list.prints.len()).ok()?,
            };
            offset = offset.checked_add(block.length.into())?;
            list.blocks.push(block);
            let prints = usize::try_from(rest.number()?)
                .ok()?
                .checked_mul(size_of::<Fingerprint>())?;
            let (prints, _) = rest.take(prints)?.as_chunks();
            list.prints
                .extend(prints.iter().map(|print| u16::from_le_bytes(*print)));
        }
        list.blocks.shrink_to_fit();
        list.prints.shrink_to_fit();
        (offset == end).then_some(list)
    }
}

impl Trailer {
    /// As it is written: the trailer, its tag, its length.
    pub(super) fn encode(&self, index: &[u8], key: &TagKey) -> Vec<u8> {
        let mut trailer = Vec::new();
        for number in [
            index.len() as u64,
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

    /// The trailer, how long the list of blocks is, and its tag.
    fn decode(bytes: &[u8], key: &TagKey) -> Option<(Self, u64, Tag)> {
        let (body, tag) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if !key.is_tag(Kind::Trailer, &[&MAGIC, body], tag) {
            return None;
        }
        let mut rest = Bytes(body);
        let [listed, keys, journal, revision] =
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
        rest.0.is_empty().then_some((trailer, listed, index))
    }
}
