//! What was acknowledged: a small file that an older replica put in place of a newer one can't agree with.
//!
//! Written before the acknowledgement is sent. Two records of fixed size are written in turn, in place, so that one of
//! them is whole at every moment; in place it needs no room on a full disk, and costs one `fdatasync`. Each has
//! a tag. Before another base takes over, its mark is noted beside the acknowledged one: then either is right.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::{self, at};
use super::record::{Bytes, put_bytes};
use super::tag::{Kind, TagKey};
use super::{Position, Result};

/// The longest name of a history.
const EPOCH: usize = 64;
/// Of a slot, its tag included. Both lie in pages of their own.
const SLOT: usize = 512;
const SLOTS_APART: u64 = 4096;
const TAG: usize = 32;

/// A revision of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    epoch: String,
    revision: u64,
}

impl From<&Position> for Mark {
    fn from(position: &Position) -> Self {
        Self {
            epoch: position.feed_epoch.clone(),
            revision: position.revision,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slot {
    sequence: u64,
    acknowledged: Mark,
    /// The base that is about to take over, or did.
    coming: Option<Mark>,
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Acknowledged {
    file: File,
    path: PathBuf,
    last: Slot,
}

impl Acknowledged {
    /// Opens it; makes it when it is missing. `last` is empty when neither record is whole.
    pub(super) fn open(folder: &Path, key: &TagKey) -> Result<Self> {
        let path = folder.join(folder::ACKNOWLEDGED);
        let file = folder::options().open(&path).map_err(|error| at(&path, error))?;
        let slots = [0, 1].into_iter().filter_map(|slot| {
            let mut bytes = [0; SLOT];
            file.read_exact_at(&mut bytes, slot * SLOTS_APART).ok()?;
            Slot::decode(&bytes, key)
        });
        let last = slots.max_by_key(|slot| slot.sequence).unwrap_or_default();
        Ok(Self { file, path, last })
    }

    /// Whether a replica that is at this position is as new as what was acknowledged.
    pub(super) fn admits(&self, position: &Position) -> bool {
        let is_reached =
            |mark: &Mark| mark.epoch == position.feed_epoch && mark.revision <= position.revision;
        self.last.sequence > 0
            && (is_reached(&self.last.acknowledged) || self.last.coming.as_ref().is_some_and(is_reached))
    }

    /// Another base takes over next.
    pub(super) fn is_coming(&mut self, position: &Position, key: &TagKey) -> Result<()> {
        self.put(self.last.acknowledged.clone(), Some(position.into()), key)
    }

    /// This position is acknowledged next.
    pub(super) fn note(&mut self, position: &Position, key: &TagKey) -> Result<()> {
        let mark = Mark::from(position);
        if self.last.sequence > 0 && self.last.acknowledged == mark && self.last.coming.is_none() {
            return Ok(());
        }
        self.put(mark, None, key)
    }

    fn put(&mut self, acknowledged: Mark, coming: Option<Mark>, key: &TagKey) -> Result<()> {
        let slot = Slot {
            sequence: self.last.sequence.saturating_add(1),
            acknowledged,
            coming,
        };
        let offset = (slot.sequence % 2) * SLOTS_APART;
        self.file
            .write_all_at(&slot.encode(key), offset)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| at(&self.path, error))?;
        self.last = slot;
        Ok(())
    }
}

impl Slot {
    fn encode(&self, key: &TagKey) -> [u8; SLOT] {
        let mut body = self.sequence.to_le_bytes().to_vec();
        for mark in [Some(&self.acknowledged), self.coming.as_ref()] {
            let mark = mark.map_or((&[][..], 0), |mark| (mark.epoch.as_bytes(), mark.revision));
            put_bytes(&mut body, mark.0.get(..EPOCH).unwrap_or(mark.0));
            body.extend_from_slice(&mark.1.to_le_bytes());
        }
        body.resize(SLOT - TAG, 0);
        let mut slot = [0; SLOT];
        let (front, tag) = slot.split_at_mut(SLOT - TAG);
        tag.copy_from_slice(&key.tag(Kind::Acknowledged, &[&body]));
        front.copy_from_slice(&body);
        slot
    }

    fn decode(bytes: &[u8], key: &TagKey) -> Option<Self> {
        let (body, tag) = bytes.split_at_checked(SLOT - TAG)?;
        if !key.is_tag(Kind::Acknowledged, &[body], tag) {
            return None;
        }
        let mut rest = Bytes(body);
        let sequence = u64::from_le_bytes(rest.array()?);
        let mut mark = || -> Option<Mark> {
            Some(Mark {
                epoch: std::str::from_utf8(rest.bytes()?).ok()?.to_owned(),
                revision: u64::from_le_bytes(rest.array()?),
            })
        };
        let (acknowledged, coming) = (mark()?, mark()?);
        Some(Self {
            sequence,
            acknowledged,
            coming: (!coming.epoch.is_empty()).then_some(coming),
        })
    }
}
