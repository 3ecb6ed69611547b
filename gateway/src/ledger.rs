//! The usage ledger: what was counted and not yet acknowledged by the control plane.
//!
//! Counters are absolute values under this start's boot epoch; the control plane keeps the greatest, so a
//! report may be lost, repeated or late. Counting is a few atomic additions without lock or allocation. A counter
//! that nobody touched since its last report costs nothing when the next one is made.
//!
//! Counters live in memory: what was not acknowledged when the process dies is lost with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dashmap::{DashMap, Entry};
use keyward_contract::feed;
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;

mod boot;
mod changed;
mod counter;
#[cfg(test)]
mod tests;

pub use boot::LedgerError;
use changed::Changed;
pub use counter::{Counter, CounterKey};

/// Hours that are over are kept open for so long: calls that began in them may still be counted.
const OPEN_HOURS: i64 = 1;

/// All usage counters of this start.
#[derive(Debug)]
pub struct Ledger {
    boot: boot::Boot,
    routes: Vec<String>,
    counters: DashMap<CounterKey, Arc<Counter>, FxBuildHasher>,
    changed: Arc<Changed>,
    reports: Mutex<Reports>,
    hours: Mutex<BTreeMap<i64, Vec<CounterKey>>>,
    /// No counter is made for an hour before this one: its counter may have been dropped, and one that began
    /// again at nothing would never reach the value that was reported.
    first_open_hour: AtomicI64,
}

/// Reports that were given out and not yet acknowledged.
#[derive(Debug, Default)]
struct Reports {
    sequence: u64,
    sent: BTreeMap<u64, Vec<Arc<Counter>>>,
}

impl Ledger {
    /// Opens the ledger in a folder, which is made when it is absent, and begins a new boot epoch. `routes` are
    /// the names behind [`CounterKey::route`].
    ///
    /// # Errors
    /// When the folder can't be used, or another process uses it.
    pub fn open(path: &Path, routes: Vec<String>) -> Result<Arc<Self>, LedgerError> {
        Ok(Arc::new(Self {
            boot: boot::Boot::begin(path)?,
            routes,
            counters: DashMap::default(),
            changed: Arc::default(),
            reports: Mutex::default(),
            hours: Mutex::default(),
            first_open_hour: AtomicI64::new(i64::MIN),
        }))
    }

    /// Greater at every start, also after the wall clock went back.
    #[must_use]
    pub fn boot_epoch(&self) -> u64 {
        self.boot.epoch()
    }

    /// The oldest start that has usage still to be reported, or this one.
    #[must_use]
    pub fn oldest_boot_epoch(&self) -> u64 {
        self.boot.epoch()
    }

    /// Finds a counter or makes it. One read of a map when it exists; keep it for the caller's next call.
    ///
    /// An hour that was closed is counted in the first that is open: after a step back of the wall clock a
    /// call may be counted in a later hour, but is never lost.
    pub fn counter(&self, key: CounterKey) -> Arc<Counter> {
        if let Some(counter) = self.counters.get(&key) {
            return Arc::clone(&counter);
        }
        self.make(key)
    }

    fn make(&self, wanted: CounterKey) -> Arc<Counter> {
        loop {
            let first_open = self.first_open_hour.load(Ordering::SeqCst);
            let key = CounterKey {
                hour: wanted.hour.max(first_open),
                ..wanted
            };
            match self.counters.entry(key) {
                Entry::Occupied(place) => return Arc::clone(place.get()),
                Entry::Vacant(place) => {
                    // Inside the map's lock: hours are closed before their counters are dropped.
                    if key.hour < self.first_open_hour.load(Ordering::SeqCst) {
                        continue;
                    }
                    let counter = Counter::new(key, Arc::clone(&self.changed));
                    place.insert(Arc::clone(&counter));
                    self.hours.lock().entry(key.hour).or_default().push(key);
                    self.changed.make_room();
                    return counter;
                }
            }
        }
    }

    /// Up to `limit` counters that changed since they were last reported, as a report; `None` when there are
    /// none. They count as unacknowledged until [`Self::acknowledged`] or [`Self::withdrawn`].
    pub fn report(&self, limit: usize) -> Option<feed::UsageReport> {
        let counters = self.changed.take(limit);
        if counters.is_empty() {
            return None;
        }
        let wire = counters.iter().map(|counter| self.wire(counter)).collect();
        let mut reports = self.reports.lock();
        reports.sequence += 1;
        let sequence = reports.sequence;
        reports.sent.insert(sequence, counters);
        Some(feed::UsageReport {
            sequence,
            counters: wire,
        })
    }

    /// The control plane has this report for good.
    pub fn acknowledged(&self, sequence: u64) {
        self.reports.lock().sent.remove(&sequence);
    }

    /// Reports that were given out may never have arrived: their counters are to be reported again.
    pub fn withdrawn(&self) {
        let sent = std::mem::take(&mut self.reports.lock().sent);
        for counter in sent.into_values().flatten() {
            counter.mark();
        }
    }

    /// Closes hours that are over, and drops their counters that are acknowledged and that nobody holds. To be
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
            // Alone in the map: not waiting to be reported, not in a report, not in a call.
            keys.retain(|key| {
                self.counters
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
        self.counters.len()
    }

    /// Counters that the control plane has not acknowledged as they now are.
    #[must_use]
    pub fn pending(&self) -> usize {
        let in_reports: usize = self.reports.lock().sent.values().map(Vec::len).sum();
        self.changed.waiting() + in_reports
    }

    fn wire(&self, counter: &Counter) -> feed::UsageCounter {
        let route = self
            .routes
            .get(usize::from(counter.key().route))
            .cloned()
            .unwrap_or_default();
        feed::UsageCounter {
            route,
            boot_epoch: self.boot_epoch(),
            ..counter.wire()
        }
    }
}
