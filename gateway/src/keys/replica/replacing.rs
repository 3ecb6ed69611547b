//! A whole key set in the place of the one that is held: drafted beside it, sorted, and in force by one rename.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::base::{Base, Trailer};
use super::error::Result;
use super::journal::Journal;
use super::tag::Kind;
use super::{Draft, GENERATION, Position, Replica, ReplicaError, View, Whole, Writer, folder};

impl Replica {
    /// Begins a key set beside the one in force.
    ///
    /// # Errors
    /// When no digest key is known.
    pub(in crate::keys) fn begin(&self) -> Result<Draft> {
        if self.keyed.load().is_none() {
            return Err(ReplicaError::NoDigestKey);
        }
        Ok(Draft::new(&self.folder, &new_id()))
    }

    /// Sorts a key set that has come whole, and writes it where nothing names it yet.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub(in crate::keys) fn seal(&self, draft: Draft, position: &Position) -> Result<Whole> {
        let keyed = self.keyed.load_full().ok_or(ReplicaError::NoDigestKey)?;
        let id = new_id();
        let (name, path) = base_file(&self.folder, &id);
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let trailer = Trailer {
            position: position.clone(),
            keys: 0,
            journal: generation << GENERATION,
            chain: keyed.key.tag(Kind::Frame, &[id.as_bytes()]),
        };
        draft.finish(&path, trailer, &keyed.key)?;
        let base = Base::list(&path, &keyed.key).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
        let view = View {
            base: Arc::new(base),
            frozen: None,
            active: Arc::default(),
            keyed,
        };
        Ok(Whole {
            view,
            name,
            folder: self.folder.clone(),
        })
    }

    /// Puts a whole key set in the place of what was held: durable from here on. Answers where it stands.
    ///
    /// # Errors
    /// When the disk fails or is full; what was held stays in force.
    pub(in crate::keys) fn take_over(&self, whole: Whole) -> Result<Position> {
        let (base, keyed) = (Arc::clone(&whole.view.base), Arc::clone(&whole.view.keyed));
        let position = base.trailer.position.clone();
        let mut place = self.writer.lock();
        let journal = Journal::create(&self.folder, base.trailer.journal, base.trailer.chain)?;
        keyed.acknowledged.lock().is_coming(&position, &keyed.key)?;
        folder::write_durably(&self.folder, folder::CURRENT, whole.name.as_bytes())?;
        let writer = Writer {
            position: position.clone(),
            keys: base.trailer.keys,
            base,
            journal,
            frozen: None,
            active: Arc::clone(&whole.view.active),
        };
        let old = place.take();
        self.show(place.insert(writer), &keyed);
        self.is_damaged.store(false, Ordering::Relaxed);
        *self.set_aside.lock() = None;
        if let Some(old) = old {
            folder::remove_replaced(&self.folder, old.base.path(), old.journal.number);
        }
        Ok(position)
    }
}

pub(super) fn base_file(folder: &Path, id: &str) -> (String, PathBuf) {
    let name = format!("{id}.{}", folder::BASE);
    let path = folder.join(&name);
    (name, path)
}

pub(super) fn new_id() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
