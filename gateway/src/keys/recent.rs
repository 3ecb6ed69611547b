//! The keys that one worker saw last: a fixed table in front of the shared cache.
//!
//! Four-way sets of 16-byte slots, one cache line a set; a hit costs one line of the table and the key itself,
//! no hash and no lock. It is never told of changes: a slot counts only while its stamp is
//! the present generation (see [`super::generations`]). Memory is fixed at the start.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use keyward_contract::{DigestKey, KeyDigest};

use super::entry::KeyEntry;
use super::generations::{Generations, Stamp};

const WAYS: usize = 4;

/// A key as a call holds it, stamped for the fence.
#[derive(Clone, Debug)]
pub struct HeldKey {
    entry: Arc<KeyEntry>,
    stamp: Stamp,
}

impl HeldKey {
    pub(super) fn new(entry: Arc<KeyEntry>, stamp: Stamp) -> Self {
        Self { entry, stamp }
    }

    /// The key.
    #[must_use]
    pub fn entry(&self) -> &KeyEntry {
        &self.entry
    }

    /// The key, to be kept beyond this worker.
    #[must_use]
    pub fn shared(&self) -> Arc<KeyEntry> {
        Arc::clone(&self.entry)
    }

    /// Whether no change may have touched it since it was read.
    #[must_use]
    pub fn is_current(&self, generations: &Generations) -> bool {
        generations.stamp(&self.entry.record.digest) == self.stamp
    }
}

/// The digest key as the worker saw it last: one load tells whether it still is the one.
type DigestKeyCache = arc_swap::Cache<Arc<ArcSwapOption<DigestKey>>, Option<Arc<DigestKey>>>;

/// One worker's recent keys.
#[derive(Debug)]
pub struct Recent {
    digest_key: Option<DigestKeyCache>,
    sets: Box<[[Option<Slot>; WAYS]]>,
}

#[derive(Clone, Debug)]
struct Slot {
    entry: Arc<KeyEntry>,
    tag: u32,
    stamp: Stamp,
}

impl Recent {
    /// A table for about this many keys, rounded up to a power of two, 64 to 1 048 576.
    #[must_use]
    pub fn with_capacity(keys: u64) -> Self {
        let sets = usize::try_from(keys.clamp(64, 1 << 20))
            .unwrap_or(1 << 20)
            .next_power_of_two()
            / WAYS;
        Self {
            digest_key: None,
            sets: vec![const { [const { None }; WAYS] }; sets].into_boxed_slice(),
        }
    }

    /// The digest of a key's text; `None` as long as there is no digest key.
    pub(super) fn digest(&mut self, key: &Arc<ArcSwapOption<DigestKey>>, text: &[u8]) -> Option<KeyDigest> {
        let cache = self
            .digest_key
            .get_or_insert_with(|| arc_swap::Cache::new(Arc::clone(key)));
        cache.load().as_ref().map(|key| key.digest(text))
    }

    /// The key with this digest, when it is here and current.
    #[must_use]
    pub fn find(&self, digest: &KeyDigest, generations: &Generations) -> Option<HeldKey> {
        let tag = tag_of(digest);
        let slots = self.sets[self.set_of(digest)].iter().flatten();
        let slot = slots
            .filter(|slot| slot.tag == tag)
            .find(|slot| slot.entry.record.digest == *digest)?;
        (slot.stamp == generations.stamp(digest)).then(|| HeldKey {
            entry: Arc::clone(&slot.entry),
            stamp: slot.stamp,
        })
    }

    /// Remembers a key in place of its own older self or of the one that came into its set first.
    pub fn remember(&mut self, key: &HeldKey) {
        let digest = key.entry.record.digest;
        let (index, tag) = (self.set_of(&digest), tag_of(&digest));
        let set = &mut self.sets[index];
        let is_same = |slot: &Option<Slot>| {
            slot.as_ref()
                .is_some_and(|slot| slot.entry.record.digest == digest)
        };
        let place = set
            .iter()
            .position(is_same)
            .or_else(|| set.iter().position(Option::is_none));
        let place = place.unwrap_or(WAYS - 1);
        set[..=place].rotate_right(1);
        set[0] = Some(Slot {
            entry: Arc::clone(&key.entry),
            tag,
            stamp: key.stamp,
        });
    }

    fn set_of(&self, digest: &KeyDigest) -> usize {
        (digest.head() as usize) & (self.sets.len() - 1)
    }
}

fn tag_of(digest: &KeyDigest) -> u32 {
    (digest.head() >> 24) as u32
}
