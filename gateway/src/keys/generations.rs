//! The fence of the caches: which cached answers a change has made old.
//!
//! Every digest falls into one of 65 536 slots; a change to a key raises its slot's generation *after* the
//! replica holds the change. A reader notes the generation *before* it reads the replica and stamps what it
//! caches with it. A cached answer counts only while its stamp is the slot's generation. So a slow read that
//! began before a change can never bring the old answer back, whenever it is inserted: its stamp is old.
//! Looking costs one load.

use keyward_contract::KeyDigest;

use super::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many slots there are; only the model of this file has fewer.
const SLOTS: usize = 1 << 16;

/// A slot's generation at the moment an answer began to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u32);

/// The generation of every slot.
#[derive(Debug)]
pub struct Generations<const N: usize = SLOTS> {
    slots: Box<[AtomicU32]>,
    /// How often anything was put in force, policies of accounts included.
    moved: AtomicU64,
}

impl<const N: usize> Default for Generations<N> {
    fn default() -> Self {
        Self {
            slots: (0..N).map(|_| AtomicU32::new(0)).collect(),
            moved: AtomicU64::new(0),
        }
    }
}

impl<const N: usize> Generations<N> {
    /// The present generation of a digest's slot.
    #[must_use]
    pub fn stamp(&self, digest: &KeyDigest) -> Stamp {
        Stamp(self.slot(digest).load(Ordering::Acquire))
    }

    /// Makes every answer about this digest old.
    pub fn raise(&self, digest: &KeyDigest) {
        self.slot(digest).fetch_add(1, Ordering::Release);
    }

    /// Makes every answer old.
    pub fn raise_all(&self) {
        self.slots.iter().for_each(|slot| {
            slot.fetch_add(1, Ordering::Release);
        });
    }

    /// Something is in force that was not, all of it: to be said last.
    pub fn announce(&self) {
        self.moved.fetch_add(1, Ordering::Release);
    }

    /// How often anything was put in force: who decided at this number need not decide again.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Acquire)
    }

    fn slot(&self, digest: &KeyDigest) -> &AtomicU32 {
        // The upper bits: the lower ones choose the set of the workers' recent keys.
        let index = (digest.head() >> 48) as usize % N;
        &self.slots[index]
    }
}
