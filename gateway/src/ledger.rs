//! The usage ledger: what was counted and not yet acknowledged by the control plane.
//!
//! Counters are absolute values under this start's boot epoch; the control plane keeps the greatest, so a
//! report may be lost, repeated or late. They live in files that are mapped into memory (`segment`): every
//! worker writes records of its own with plain stores (`Book`), and whatever ends the process, what was counted
//! is read at the next start (`recovery`) and reported under the epoch that it was counted under
//! (`backlog`). A loss of power costs at most `ledger.sync_interval` (`keeper`).
//!
//! A call is counted in the very system call that hands it to its upstream (`outbox`), so a `SIGKILL` at any
//! moment neither loses nor doubles one. What can still differ: a request whose head was handed over in part when
//! the process was killed is counted, and its upstream never saw it whole.
//!
//! A counter that nobody touched since its last report costs nothing when the next one is made.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dashmap::{DashMap, Entry as Place};
use keyward_contract::feed;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

mod backlog;
mod book;
mod boot;
mod changed;
mod counter;
#[doc(hidden)]
pub mod fuzzing;
mod keeper;
mod mapped;
mod outbox;
mod record;
mod recovery;
mod segment;
mod shelf;
#[cfg(test)]
mod tests;

use backlog::{Backlog, Old};
pub use book::Book;
pub use boot::LedgerError;
use changed::Changed;
use counter::Entry;
pub use counter::{Counter, CounterKey};
use keeper::{Bell, Keeper, Store};
use record::Record;
use shelf::{Desk, Shelf};

/// Hours that are over are kept open for so long: calls that began in them may still be counted.
const OPEN_HOURS: i64 = 1;

/// What bounds a ledger.
#[derive(Clone, Copy, Debug)]
pub struct LedgerBounds {
    /// Bytes of all its segments.
    pub max_size: u64,
    /// The most that a loss of power may lose.
    pub sync_interval: Duration,
}

/// The process that has a ledger's folder open while another one opens it.
#[derive(Debug)]
pub struct Elder {
    /// A descriptor of the folder's lock.
    pub lock: std::fs::File,
    /// What it counts under.
    pub boot_epoch: u64,
}

/// How a ledger stands, for metrics and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerStanding {
    /// Counters that the control plane has not acknowledged as they now are.
    pub pending: usize,
    /// Segments of this start.
    pub segments: usize,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes that they may have.
    pub limit_bytes: u64,
    /// Counters in memory alone, because there was no room: a kill would lose them.
    pub in_memory: usize,
    /// Whether there is no room, or was none for a counter that is in use.
    pub is_degraded: bool,
    /// Earlier starts whose usage is not acknowledged.
    pub old_boots: usize,
    /// Records of earlier starts that could not be true.
    pub corrupt_records: u64,
}

/// All usage counters of this start, and what earlier ones left.
#[derive(Debug)]
pub struct Ledger {
    entries: DashMap<CounterKey, Arc<Entry>, FxBuildHasher>,
    changed: Arc<Changed>,
    reports: Mutex<Reports>,
    hours: Mutex<BTreeMap<i64, Vec<CounterKey>>>,
    /// No counter is made for an hour before this one: its counter may have been dropped, and one that began
    /// again at nothing would never reach the value that was reported.
    first_open_hour: AtomicI64,
    store: Arc<Store>,
    keeper: Option<Keeper>,
    /// Last, so that the folder is ours until nothing writes to it.
    boot: boot::Boot,
}

/// Reports that were given out and not yet acknowledged.
#[derive(Debug, Default)]
struct Reports {
    sequence: u64,
    sent: BTreeMap<u64, Sent>,
}

#[derive(Debug)]
struct Sent {
    counters: Vec<Arc<Entry>>,
    old: Vec<Old>,
}

impl Ledger {
    /// Opens the ledger in a folder, which is made when it is absent, and begins a new boot epoch. `routes` are
    /// the names behind [`CounterKey::route`]. What earlier starts left is read on a thread of its own.
    ///
    /// # Errors
    /// When the folder can't be used, or another process uses it.
    pub fn open(path: &Path, routes: Vec<String>, bounds: LedgerBounds) -> Result<Arc<Self>, LedgerError> {
        Self::open_after(path, routes, bounds, None)
    }

    /// [`Self::open`] beside the process that has the folder open: what that one counts is read when it has ended
    /// ([`Self::elder_ended`]).
    ///
    /// # Errors
    /// When the folder can't be used.
    pub fn open_after(
        path: &Path,
        routes: Vec<String>,
        bounds: LedgerBounds,
        elder: Option<Elder>,
    ) -> Result<Arc<Self>, LedgerError> {
        let (lock, living) = elder.map(|elder| (elder.lock, elder.boot_epoch)).unzip();
        let boot = boot::Boot::begin(path, lock)?;
        let failed = |source| LedgerError::Io {
            path: path.to_owned(),
            source,
        };
        let old = recovery::old_boots(path, boot.epoch()).map_err(failed)?;
        let bytes = old.iter().map(|boot| boot.bytes).sum();
        let store = Arc::new(Store {
            shelf: Shelf::new(path, boot.epoch(), routes, bounds.max_size, bytes),
            desks: Mutex::default(),
            backlog: Backlog::new(path, old),
            bell: Bell::default(),
        });
        store.backlog.lives(living.unwrap_or_default());
        let keeper = Keeper::start(&store, bounds.sync_interval).map_err(failed)?;
        Ok(Arc::new(Self {
            entries: DashMap::default(),
            changed: Arc::default(),
            reports: Mutex::default(),
            hours: Mutex::default(),
            first_open_hour: AtomicI64::new(i64::MIN),
            store,
            keeper: Some(keeper),
            boot,
        }))
    }

    /// The process that had the folder before has ended: what it left is read and reported.
    pub fn elder_ended(&self) {
        self.store.backlog.ended();
        self.store.bell.ring();
    }

    /// A descriptor of the folder's lock for a process that opens it beside this one.
    ///
    /// # Errors
    /// When there are none left.
    pub fn share_lock(&self) -> std::io::Result<std::fs::File> {
        self.boot.share()
    }

    /// A worker's part of it. Belongs to the thread that calls this.
    #[must_use]
    pub fn book(self: &Arc<Self>) -> Book {
        let mut desks = self.store.desks.lock();
        let desk = Desk::new(u32::try_from(desks.len()).unwrap_or(u32::MAX));
        desks.push(Arc::clone(&desk));
        drop(desks);
        let outbox = self.store.shelf.outbox(desk.worker);
        Book::new(Arc::clone(self), desk, outbox)
    }

    /// Greater at every start, also after the wall clock went back.
    #[must_use]
    pub fn boot_epoch(&self) -> u64 {
        self.boot.epoch()
    }

    /// The oldest start that has usage still to be reported, or this one.
    #[must_use]
    pub fn oldest_boot_epoch(&self) -> u64 {
        self.store.backlog.oldest().unwrap_or(self.boot.epoch())
    }

    /// Takes the names of routes that a reload brings; `names` are all, by their numbers, and begin with those that there
    /// were.
    ///
    /// # Errors
    /// When they can't be put on the disk: nothing may be counted under them then.
    pub fn name_routes(&self, names: &[Arc<str>]) -> std::io::Result<()> {
        self.store.shelf.name_routes(names)
    }

    fn first_open_hour(&self) -> i64 {
        self.first_open_hour.load(Ordering::SeqCst)
    }

    /// One more worker counts under this key; `None` when its hour is closed.
    fn enter(&self, key: CounterKey, record: &Arc<Record>) -> Option<Arc<Entry>> {
        // Inside the map's lock: hours are closed before their counters are dropped.
        match self.entries.entry(key) {
            Place::Occupied(place) => {
                place.get().join(record);
                Some(Arc::clone(place.get()))
            }
            Place::Vacant(_) if key.hour < self.first_open_hour() => None,
            Place::Vacant(place) => {
                let entry = Entry::new(key, &self.changed);
                entry.join(record);
                place.insert(Arc::clone(&entry));
                self.hours.lock().entry(key.hour).or_default().push(key);
                Some(entry)
            }
        }
    }

    /// Up to `limit` counters that changed since they were last reported, as a report; `None` when there are
    /// none. They count as unacknowledged until [`Self::acknowledged`] or [`Self::withdrawn`].
    pub fn report(&self, limit: usize) -> Option<feed::UsageReport> {
        // Neither waits for the other, however much there is of it.
        let backlog = &self.store.backlog;
        let old = backlog.take(limit.div_ceil(2));
        let counters = self.changed.take(limit.saturating_sub(old.len()));
        if counters.is_empty() && old.is_empty() {
            return None;
        }
        let mut wire = backlog.wire(&old);
        let (shelf, epoch) = (&self.store.shelf, self.boot_epoch());
        wire.extend(counters.iter().map(|counter| {
            let key = &counter.key;
            counter.tally().wire(key, &shelf.route(key.route), epoch)
        }));
        let mut reports = self.reports.lock();
        reports.sequence += 1;
        let sequence = reports.sequence;
        reports.sent.insert(sequence, Sent { counters, old });
        Some(feed::UsageReport {
            sequence,
            counters: wire,
        })
    }

    /// The control plane has this report for good.
    pub fn acknowledged(&self, sequence: u64) {
        let sent = self.reports.lock().sent.remove(&sequence);
        if sent.is_some_and(|sent| !sent.old.is_empty() && self.store.backlog.acknowledged(sent.old.len())) {
            self.store.bell.ring();
        }
    }

    /// Reports that were given out may never have arrived: their counters are to be reported again.
    pub fn withdrawn(&self) {
        let sent = std::mem::take(&mut self.reports.lock().sent);
        for Sent { counters, old } in sent.into_values() {
            counters.iter().for_each(Entry::mark);
            self.store.backlog.withdrawn(old);
        }
    }

    /// Closes hours that are over, and drops their counters that are acknowledged and that no worker holds. To be
    /// called now and then.
    pub fn close_hours(&self, hour: i64) {
        let first_open = hour.saturating_sub(OPEN_HOURS);
        self.first_open_hour.fetch_max(first_open, Ordering::SeqCst);
        let closed = {
            let mut hours = self.hours.lock();
            let open = hours.split_off(&first_open);
            std::mem::replace(&mut *hours, open)
        };
        for (hour, mut keys) in closed {
            // Alone in the map: not waiting to be reported, not in a report, not with a worker.
            keys.retain(|key| {
                self.entries
                    .remove_if(key, |_, counter| Arc::strong_count(counter) == 1)
                    .is_none()
            });
            if !keys.is_empty() {
                self.hours.lock().entry(hour).or_default().append(&mut keys);
            }
        }
    }

    /// Counters held.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.entries.len()
    }

    /// Counters that the control plane has not acknowledged as they now are.
    #[must_use]
    pub fn pending(&self) -> usize {
        let in_reports: usize = self
            .reports
            .lock()
            .sent
            .values()
            .map(|sent| sent.counters.len())
            .sum();
        self.changed.waiting() + in_reports + self.store.backlog.pending()
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> LedgerStanding {
        let Store { shelf, backlog, .. } = &*self.store;
        let in_memory = self.store.in_memory();
        LedgerStanding {
            pending: self.pending(),
            segments: shelf.segments(),
            bytes: shelf.bytes(),
            limit_bytes: shelf.limit(),
            in_memory,
            is_degraded: in_memory > 0 || shelf.is_refused(),
            old_boots: backlog.boots(),
            corrupt_records: backlog.corrupt(),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // It writes through, and ends.
        drop(self.keeper.take());
        let in_reports = self
            .reports
            .get_mut()
            .sent
            .values()
            .any(|sent| !sent.counters.is_empty());
        if self.changed.waiting() == 0 && !in_reports {
            self.store.shelf.delete();
        }
    }
}
