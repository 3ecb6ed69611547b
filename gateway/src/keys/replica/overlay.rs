//! What changed since the base was written: in memory, and in the journal for the next start.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

use super::record::Place;

/// Bytes that a record takes in memory beside its own.
const AROUND: usize = 80;

/// Records by place. Places are keyed hashes, so nobody can choose them to collide.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    records: DashMap<Place, Box<[u8]>, FxBuildHasher>,
    bytes: AtomicUsize,
}

impl Overlay {
    pub(super) fn put(&self, place: Place, value: &[u8]) {
        if self.records.insert(place, value.into()).is_none() {
            self.bytes.fetch_add(value.len() + AROUND, Ordering::Relaxed);
        }
    }

    pub(super) fn value(&self, place: &Place) -> Option<Box<[u8]>> {
        self.records.get(place).map(|value| value.clone())
    }

    pub(super) fn holds(&self, place: &Place) -> bool {
        self.records.contains_key(place)
    }

    /// Memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Every place, in order.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places: Vec<_> = self.records.iter().map(|record| *record.key()).collect();
        places.sort_unstable();
        places
    }
}
