//! The maps that all workers share, as those see them who fill and read them: a cache forgets what is idle, places keep what is in them.

use std::sync::Arc;

use dashmap::DashMap;
use keyward_contract::KeyDigest;

use super::cells::Places;
use super::fence::Cache;

impl<V: Clone + Send + Sync + 'static> Cache for moka::sync::Cache<KeyDigest, V> {
    type Value = V;

    fn find(&self, digest: &KeyDigest) -> Option<V> {
        self.get(digest)
    }

    fn keep(&self, digest: KeyDigest, value: V) {
        self.insert(digest, value);
    }

    fn forget(&self, digest: &KeyDigest) {
        self.invalidate(digest);
    }

    fn forget_all(&self) {
        self.invalidate_all();
    }
}

impl<Id: Eq + std::hash::Hash, Cell> Places<Id, Cell> for DashMap<Id, Arc<Cell>> {
    fn find(&self, id: &Id) -> Option<Arc<Cell>> {
        self.get(id).map(|cell| Arc::clone(&cell))
    }

    fn find_or_make<E>(&self, id: Id, make: impl FnOnce() -> Result<Arc<Cell>, E>) -> Result<Arc<Cell>, E> {
        match self.entry(id) {
            dashmap::Entry::Occupied(cell) => Ok(Arc::clone(cell.get())),
            dashmap::Entry::Vacant(place) => {
                let cell = make()?;
                place.insert(Arc::clone(&cell));
                Ok(cell)
            }
        }
    }
}
