//! The key set on disk: what a gateway serves by when the control plane is away.
//!
//! A [`base`] holds a whole key set, sorted, and never changes; a [`journal`] holds the changes since, each batch durable
//! before it counts; they are also in memory, in an [`overlay`]. When that has grown, [`compaction`] merges it into a new base.
//! The file named in `current` is in force. Everything carries a [`tag`] under a key that is derived from the
//! digest key, and the whole is read and checked before it serves. What fails, or is older than what was
//! [`acknowledged`], is set aside: the gateway then has no key set until a whole snapshot came.
//!
//! Holds digests and policy, never a raw key. A read costs a few microseconds from the page cache and waits for
//! nobody; a change one `fdatasync`, whatever the size; memory is about 1 byte a key, and the changes since the base.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use keyward_contract::{InvalidRecord, Record, feed};
use parking_lot::Mutex;

mod acknowledged;
mod base;
mod compaction;
mod draft;
mod error;
mod folder;
mod journal;
mod merge;
mod opening;
mod overlay;
mod position;
mod quotas;
mod record;
mod replacing;
mod tag;
#[cfg(test)]
pub(super) mod tests;
mod view;
mod writer;

use acknowledged::Acknowledged;
use base::Base;
use compaction::{Compaction, Frozen};
pub(super) use draft::Draft;
pub use error::ReplicaError;
use error::Result;
pub(super) use folder::{digest_key, keep_digest_key};
use journal::{Batch, Journal};
use overlay::Overlay;
pub use position::Position;
use quotas::Quotas;
use record::Place;
use tag::TagKey;
pub(super) use view::{View, Whole};

use super::RefusedRecord;

/// Journals of one snapshot have numbers that differ in these bits alone.
const GENERATION: u32 = 32;

/// The folder and what is in force of it.
#[derive(Debug)]
pub(super) struct Replica {
    folder: PathBuf,
    /// Locked as long as we live.
    lock: std::fs::File,
    /// Another process writes here: what changes is in memory alone.
    is_given_away: AtomicBool,
    keyed: ArcSwapOption<Keyed>,
    view: ArcSwapOption<View>,
    writer: Mutex<Option<Writer>>,
    compaction: Compaction,
    generation: AtomicU64,
    keys: AtomicU64,
    bytes: AtomicU64,
    /// Why the files of this start, or of this life, are not believed.
    set_aside: Mutex<Option<String>>,
    is_damaged: AtomicBool,
}

/// What there is once the digest key is known.
#[derive(Debug)]
struct Keyed {
    key: TagKey,
    quotas: Quotas,
    acknowledged: Mutex<Acknowledged>,
}

/// What changes are written to.
#[derive(Debug)]
struct Writer {
    base: Arc<Base>,
    journal: Journal,
    frozen: Option<Frozen>,
    active: Arc<Overlay>,
    position: Position,
    keys: u64,
}

/// A record as it is stored, and where.
pub(super) type Stored = (Place, Vec<u8>);

impl Replica {
    /// Makes what the writer holds visible to readers.
    fn show(&self, writer: &Writer, keyed: &Arc<Keyed>) {
        let generation = writer.journal.number >> GENERATION;
        self.generation.fetch_max(generation, Ordering::Relaxed);
        self.count(writer);
        self.view.store(Some(Arc::new(View {
            base: Arc::clone(&writer.base),
            frozen: writer.frozen.as_ref().map(|frozen| Arc::clone(&frozen.overlay)),
            active: Arc::clone(&writer.active),
            keyed: Arc::clone(keyed),
        })));
    }

    fn count(&self, writer: &Writer) {
        self.keys.store(writer.keys, Ordering::Relaxed);
        let bytes = writer.base.bytes.saturating_add(writer.journal.length);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// What is in force; `None` before the first snapshot.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.view.load_full()
    }

    /// Up to where it follows the log; empty when nothing is held.
    pub(super) fn position(&self) -> Position {
        self.writer
            .lock()
            .as_ref()
            .map(|writer| writer.position.clone())
            .unwrap_or_default()
    }

    /// Number of keys: one load.
    pub(super) fn key_count(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Bytes of the base and of the changes since: one load.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why files are not believed, until a snapshot took their place.
    pub(super) fn set_aside(&self) -> Option<String> {
        self.set_aside.lock().clone()
    }

    /// Whether a read found other bytes than were written.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// A read found damage: from here on no change is taken, so that the next stream begins with a snapshot.
    pub(super) fn found(&self, error: &ReplicaError) {
        if error.is_damage() && !self.is_damaged.swap(true, Ordering::Relaxed) {
            *self.set_aside.lock() = Some(error.to_string());
        }
    }

    /// These records as they are stored. One that is longer than any needs to be is refused, and taken from `records`.
    pub(super) fn store(
        &self,
        records: &mut Vec<Record>,
        revision: u64,
        refused: &mut Vec<RefusedRecord>,
    ) -> Vec<Stored> {
        let keyed = self.keyed.load();
        let Some(keyed) = &*keyed else {
            return Vec::new();
        };
        let mut stored = Vec::with_capacity(records.len());
        records.retain(|record| {
            let (place, value) = stored_form(record, &keyed.key);
            if value.len() <= record::LONGEST {
                stored.push((place, value));
                return true;
            }
            refused.push(RefusedRecord {
                revision,
                error: too_long(record),
            });
            false
        });
        stored
    }

    /// Puts a change on disk, then where readers see it.
    ///
    /// # Errors
    /// When the disk fails or is full; then nothing of it is visible, now or after a restart.
    pub(super) fn change(self: &Arc<Self>, records: &[Stored], position: &Position) -> Result<()> {
        let mut writer = self.writer.lock();
        let (Some(writer), Some(view)) = (writer.as_mut(), self.view()) else {
            return Err(ReplicaError::Empty);
        };
        if self.is_damaged() {
            return Err(ReplicaError::Damaged("a snapshot is needed".into()));
        }
        let keys = writer.keys.saturating_add(view.new_keys(records));
        let batch = Batch {
            position,
            keys,
            records,
        };
        let is_given_away = self.is_given_away.load(Ordering::Acquire);
        if !is_given_away {
            writer.journal.append(&batch, &view.keyed.key)?;
        }
        for (place, value) in records {
            writer.active.put(*place, value);
        }
        writer.keys = keys;
        writer.position = position.clone();
        self.count(writer);
        if !is_given_away {
            self.compact_when_due(writer, &view.keyed);
        }
        Ok(())
    }

    /// Writes nothing any more, and gives a descriptor of the lock to who will. What changes from now on is in memory
    /// alone. Waits for what is being written.
    ///
    /// # Errors
    /// When there are no descriptors left; then nothing has changed.
    pub(super) fn give_away(&self) -> std::io::Result<std::fs::File> {
        let lock = self.lock.try_clone()?;
        self.compaction.stop();
        // Held, so that no change is half written.
        let _writer = self.writer.lock();
        self.is_given_away.store(true, Ordering::Release);
        Ok(lock)
    }

    /// Writes again: nobody else does. Nothing may have changed meanwhile.
    pub(super) fn take_back(&self) {
        self.compaction.start();
        self.is_given_away.store(false, Ordering::Release);
    }

    /// Shows readers nothing any more.
    pub(super) fn hide(&self) {
        self.view.store(None);
    }

    /// Notes, durably, that what is in force is about to be acknowledged.
    ///
    /// # Errors
    /// When the disk fails; then it must not be acknowledged.
    pub(super) fn acknowledge(&self, position: &Position) -> Result<()> {
        match &*self.keyed.load() {
            Some(keyed) => keyed.acknowledged.lock().note(position, &keyed.key),
            None => Ok(()),
        }
    }

    /// Keeps what the control plane said of an account's quota, for a restart without it.
    pub(super) fn keep_quota(&self, usage: &feed::QuotaUsage) -> Result<()> {
        match &*self.keyed.load() {
            Some(keyed) => keyed.quotas.keep(usage, &keyed.key),
            None => Ok(()),
        }
    }

    /// Ends what goes on in the background.
    pub(super) fn stop(&self) {
        self.compaction.stop();
    }
}

fn stored_form(record: &Record, key: &TagKey) -> Stored {
    let mut value = Vec::with_capacity(64);
    match record {
        Record::Key(key) => {
            record::encode_key(key, &mut value);
            (*key.digest.as_bytes(), value)
        }
        Record::Account(account) => {
            record::encode_account(account, &mut value);
            (key.place_of(account.id), value)
        }
    }
}

fn too_long(record: &Record) -> InvalidRecord {
    InvalidRecord {
        record: match record {
            Record::Key(key) => format!("key {}", key.id),
            Record::Account(account) => format!("account {}", account.id),
        },
        reason: "is too long".into(),
    }
}

impl Draft {
    /// Adds a record that was stored by [`Replica::store`].
    pub(super) fn add(&mut self, (place, value): &Stored) -> Result<()> {
        self.put(*place, value)
    }
}
