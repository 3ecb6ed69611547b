//! The folder of this start: makes its segments within the bounds of the disk and of `ledger.max_size`, and
//! deletes those that are over.
//!
//! When there is no room, counters are kept in memory alone: calls go on, and nothing is lost as long as the
//! process lives. It is tried again every second, said once a minute, and shown as a metric.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::outbox::Outbox;
use super::segment::{self, Segment};

/// How long a disk that was full is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the same trouble is logged.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// The file with the names of the routes.
pub(super) const ROUTES: &str = "routes";

/// This start's folder.
#[derive(Debug)]
pub(super) struct Shelf {
    root: PathBuf,
    folder: PathBuf,
    epoch: u64,
    routes: RwLock<Vec<Arc<str>>>,
    limit: u64,
    /// Of all files, those of earlier starts included.
    bytes: AtomicU64,
    next_number: AtomicU64,
    segments: Mutex<Vec<Arc<Segment>>>,
    is_new: AtomicBool,
    trouble: Mutex<Trouble>,
    refused: AtomicBool,
}

#[derive(Debug, Default)]
struct Trouble {
    is_prepared: bool,
    try_at: Option<Instant>,
    say_at: Option<Instant>,
}

/// Why there is no segment.
#[derive(Debug, thiserror::Error)]
enum NoRoom {
    #[error("ledger.max_size is reached")]
    Bound,
    #[error("{0}")]
    Disk(#[from] io::Error),
}

impl Shelf {
    /// Of a folder of this name in `root`; `bytes` are there already. Nothing is made yet.
    pub(super) fn new(root: &Path, epoch: u64, routes: Vec<String>, limit: u64, bytes: u64) -> Self {
        let shelf = Self {
            root: root.to_owned(),
            folder: root.join(epoch.to_string()),
            epoch,
            routes: RwLock::new(routes.into_iter().map(Arc::from).collect()),
            limit,
            bytes: AtomicU64::new(bytes),
            next_number: AtomicU64::new(0),
            segments: Mutex::default(),
            is_new: AtomicBool::new(false),
            trouble: Mutex::default(),
            refused: AtomicBool::new(false),
        };
        let mut trouble = shelf.trouble.lock();
        if let Err(error) = shelf.prepare(&mut trouble) {
            shelf.refuse(&mut trouble, &error.into());
        }
        drop(trouble);
        shelf
    }

    pub(super) fn route(&self, index: u16) -> Arc<str> {
        let routes = self.routes.read();
        routes
            .get(usize::from(index))
            .map_or_else(|| "".into(), Arc::clone)
    }

    /// Takes more names of routes, durably: what is counted by their numbers is found again. `names` begins with those
    /// that there were.
    ///
    /// # Errors
    /// When they can't be put on the disk; then only the old ones are known.
    pub(super) fn name_routes(&self, names: &[Arc<str>]) -> io::Result<()> {
        let trouble = self.trouble.lock();
        if self.routes.read().len() >= names.len() {
            return Ok(());
        }
        // A folder that is not there yet is made with all of them.
        if trouble.is_prepared {
            self.keep_routes(names)?;
        }
        *self.routes.write() = names.to_vec();
        Ok(())
    }

    fn keep_routes(&self, names: &[Arc<str>]) -> io::Result<()> {
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        super::boot::keep(&self.folder, ROUTES, &serde_json::to_vec(&names)?)
    }

    /// A segment for a worker; `None` when there is no room.
    pub(super) fn segment(&self, worker: u32) -> Option<Arc<Segment>> {
        let mut trouble = self.trouble.lock();
        if trouble.try_at.is_some_and(|at| Instant::now() < at) {
            return None;
        }
        match self.make(&mut trouble, worker) {
            Ok(segment) => {
                if self.refused.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger has room on the disk again");
                }
                trouble.try_at = None;
                self.segments.lock().push(Arc::clone(&segment));
                Some(segment)
            }
            Err(error) => {
                self.refuse(&mut trouble, &error);
                None
            }
        }
    }

    fn make(&self, trouble: &mut Trouble, worker: u32) -> Result<Arc<Segment>, NoRoom> {
        self.prepare(trouble)?;
        let size = segment::BYTES as u64;
        if self.bytes.load(Ordering::Relaxed).saturating_add(size) > self.limit {
            return Err(NoRoom::Bound);
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let segment = Segment::create(&self.folder, worker, number, self.epoch)?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.is_new.store(true, Ordering::Release);
        Ok(segment)
    }

    /// A worker's outbox; in memory when there is no room for a file.
    pub(super) fn outbox(&self, worker: u32) -> Outbox {
        Outbox::create(&self.folder, worker, self.epoch).unwrap_or_else(|error| {
            tracing::error!(%error, "no file for what is being sent: a call that is under way when this process \
                 is killed may be counted or not");
            Outbox::in_memory(self.epoch)
        })
    }

    /// The folder and the names of the routes, durably, before anything is counted by their numbers.
    fn prepare(&self, trouble: &mut Trouble) -> io::Result<()> {
        if trouble.is_prepared {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        self.keep_routes(&self.routes.read())?;
        File::open(&self.root)?.sync_all()?;
        trouble.is_prepared = true;
        Ok(())
    }

    fn refuse(&self, trouble: &mut Trouble, error: &NoRoom) {
        let now = Instant::now();
        self.refused.store(true, Ordering::Relaxed);
        trouble.try_at = Some(now + TRY_AGAIN);
        if trouble.say_at.is_none_or(|at| at <= now) {
            trouble.say_at = Some(now + SAY_AGAIN);
            tracing::error!(%error, folder = %self.folder.display(), "no room for the ledger: new counters are in \
                 memory alone until there is");
        }
    }

    /// Waits until everything that was counted before is on the disk.
    pub(super) fn sync(&self) {
        let segments = self.segments.lock().clone();
        let mut outcome = Ok(());
        if self.is_new.swap(false, Ordering::Acquire) {
            outcome = File::open(&self.folder).and_then(|folder| folder.sync_all());
        }
        for segment in &segments {
            outcome = segment.sync().and(outcome);
        }
        if let Err(error) = outcome {
            self.is_new.store(true, Ordering::Release);
            let mut trouble = self.trouble.lock();
            let now = Instant::now();
            if trouble.say_at.is_none_or(|at| at <= now) {
                trouble.say_at = Some(now + SAY_AGAIN);
                tracing::error!(%error, folder = %self.folder.display(), "the ledger can't be written through to \
                     the disk: a loss of power would lose what was counted since");
            }
        }
    }

    /// Deletes the segments in which nothing is counted any more.
    pub(super) fn clear(&self) {
        self.segments.lock().retain(|segment| {
            if !Segment::is_free(segment) {
                return true;
            }
            match segment.delete() {
                Ok(()) => self.freed(segment::BYTES as u64),
                Err(error) => tracing::warn!(%error, "a segment that is over can't be deleted"),
            }
            false
        });
    }

    /// So many bytes of earlier starts are gone.
    pub(super) fn freed(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Deletes the whole folder: everything in it is acknowledged.
    pub(super) fn delete(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %self.folder.display(), "can't delete what is over");
        }
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.lock().len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the last try to get a segment failed.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What a worker and the keeper share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) worker: u32,
    /// The next segment, made ready off the request path.
    pub(super) spare: Mutex<Option<Arc<Segment>>>,
    pub(super) wants_spare: AtomicBool,
    /// Counters in memory alone.
    pub(super) in_memory: AtomicUsize,
}

impl Desk {
    pub(super) fn new(worker: u32) -> Arc<Self> {
        Arc::new(Self {
            worker,
            spare: Mutex::default(),
            wants_spare: AtomicBool::default(),
            in_memory: AtomicUsize::default(),
        })
    }

    /// Makes the next segment ready, when it is wanted and there is room.
    pub(super) fn supply(&self, shelf: &Shelf) {
        if self.wants_spare.load(Ordering::Acquire)
            && self.spare.lock().is_none()
            && let Some(segment) = shelf.segment(self.worker)
        {
            *self.spare.lock() = Some(segment);
            self.wants_spare.store(false, Ordering::Release);
        }
    }
}
