//! Merging the changes since the base into a new base, on a thread of its own while everything goes on.
//!
//! The overlay is frozen and a new journal begun; the new base is written from the old one and the frozen
//! changes; then `current` names it, and old base and journal go. Killed in between, the next start reads the old base and both journals. A
//! failure (a full disk) leaves everything as it was; it is tried again a minute later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::base::{Base, Trailer};
use super::journal::Journal;
use super::merge::{BaseRecords, OverlayRecords, Source, merge};
use super::overlay::Overlay;
use super::replacing::{base_file, new_id};
use super::tag::{Tag, TagKey};
use super::writer::BaseWriter;
use super::{Keyed, Position, Replica, ReplicaError, Result, Writer, folder};

/// Changes are merged when they take so much memory,
const LEAST: usize = 16 << 20;
/// or an eighth of the base, but never more than this.
const MOST: usize = 64 << 20;
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What goes on in the background.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    thread: Mutex<Option<JoinHandle<()>>>,
    failed: Mutex<Option<Instant>>,
    is_stopping: AtomicBool,
    /// Lower in tests.
    #[cfg(test)]
    pub(super) least: std::sync::atomic::AtomicUsize,
}

/// Changes that are being merged, and where they end.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) overlay: Arc<Overlay>,
    position: Position,
    journal: u64,
    chain: Tag,
}

impl Compaction {
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    /// After [`Self::stop`], as if it had not been.
    pub(super) fn start(&self) {
        self.is_stopping.store(false, Ordering::Relaxed);
    }

    fn is_due(&self, writer: &Writer) -> bool {
        let bound = usize::try_from(writer.base.bytes / 8).unwrap_or(MOST);
        let bound = bound.min(MOST).max(self.least());
        let is_running = self
            .thread
            .lock()
            .as_ref()
            .is_some_and(|thread| !thread.is_finished());
        let is_too_soon = self.failed.lock().is_some_and(|at| at.elapsed() < TRY_AGAIN);
        // Changes to the same keys over and over take no more memory, but room and time at the next start.
        let is_much = writer.active.bytes() >= bound || writer.journal.length >= 2 * bound as u64;
        is_much && !is_running && !is_too_soon
    }

    #[cfg(not(test))]
    fn least(&self) -> usize {
        LEAST
    }

    #[cfg(test)]
    fn least(&self) -> usize {
        match self.least.load(Ordering::Relaxed) {
            0 => LEAST,
            least => least,
        }
    }
}

impl Replica {
    /// Begins a merge when there is enough to merge.
    pub(super) fn compact_when_due(self: &Arc<Self>, writer: &mut Writer, keyed: &Arc<Keyed>) {
        if !self.compaction.is_due(writer) {
            return;
        }
        if writer.frozen.is_none()
            && let Err(error) = self.freeze(writer, keyed)
        {
            *self.compaction.failed.lock() = Some(Instant::now());
            tracing::warn!(%error, "the replica's changes can't be merged");
            return;
        }
        let (replica, keyed) = (Arc::clone(self), Arc::clone(keyed));
        let merge = move || {
            let merged = replica.compact(&keyed);
            *replica.compaction.failed.lock() = merged.is_err().then(Instant::now);
            if let Err(error) = merged {
                tracing::warn!(%error, "the replica's changes were not merged");
            }
        };
        let thread = std::thread::Builder::new()
            .name("keyward-replica".into())
            .spawn(merge);
        *self.compaction.thread.lock() = thread.ok();
    }

    fn freeze(&self, writer: &mut Writer, keyed: &Arc<Keyed>) -> Result<()> {
        let number = writer.journal.number.checked_add(1);
        let number = number.ok_or_else(|| ReplicaError::Damaged("no journal has a later number".into()))?;
        let journal = Journal::create(&self.folder, number, writer.journal.chain)?;
        writer.frozen = Some(Frozen {
            overlay: std::mem::take(&mut writer.active),
            position: writer.position.clone(),
            journal: number,
            chain: journal.chain,
        });
        writer.journal = journal;
        self.show(writer, keyed);
        Ok(())
    }

    fn compact(&self, keyed: &Arc<Keyed>) -> Result<()> {
        let Some((old, overlay, trailer)) = self.writer.lock().as_ref().and_then(frozen) else {
            return Ok(());
        };
        let (began, (name, path)) = (Instant::now(), base_file(&self.folder, &new_id()));
        let draft = path.with_extension("draft");
        let written = self
            .write(&old, overlay, (&draft, trailer), &keyed.key)
            .and_then(|()| std::fs::rename(&draft, &path).map_err(|error| folder::at(&path, error)));
        let base = match written.and_then(|()| Base::list(&path, &keyed.key)) {
            Ok(base) => base,
            Err(error) => {
                let _ = std::fs::remove_file(&draft);
                return Err(error);
            }
        };
        let mut place = self.writer.lock();
        let Some(writer) = place.as_mut().filter(|writer| Arc::ptr_eq(&writer.base, &old)) else {
            // A snapshot has taken over meanwhile.
            let _ = std::fs::remove_file(&path);
            return Ok(());
        };
        folder::write_durably(&self.folder, folder::CURRENT, name.as_bytes())?;
        let last = base.trailer.journal.saturating_sub(1);
        writer.base = Arc::new(base);
        writer.frozen = None;
        self.show(writer, keyed);
        folder::remove_replaced(&self.folder, old.path(), last);
        tracing::info!(took = ?began.elapsed(), bytes = writer.base.bytes, "the replica's changes are merged");
        Ok(())
    }

    fn write(
        &self,
        old: &Base,
        changes: Arc<Overlay>,
        (draft, trailer): (&std::path::Path, Trailer),
        key: &TagKey,
    ) -> Result<()> {
        let mut out = BaseWriter::create(draft, key)?;
        let mut sources: [Box<dyn Source + '_>; 2] = [
            Box::new(BaseRecords::new(old, key)?),
            Box::new(OverlayRecords::new(changes)),
        ];
        merge(&mut sources, |place, value| {
            if self.compaction.is_stopping.load(Ordering::Relaxed) {
                return Err(ReplicaError::Record("it is being closed".into()));
            }
            out.put(place, value)
        })?;
        out.finish(trailer)
    }
}

/// What a merge reads, and what its base will say of itself.
fn frozen(writer: &Writer) -> Option<(Arc<Base>, Arc<Overlay>, Trailer)> {
    let frozen = writer.frozen.as_ref()?;
    let trailer = Trailer {
        position: frozen.position.clone(),
        keys: 0,
        journal: frozen.journal,
        chain: frozen.chain,
    };
    Some((Arc::clone(&writer.base), Arc::clone(&frozen.overlay), trailer))
}
