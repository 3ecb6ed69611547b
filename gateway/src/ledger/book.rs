//! One worker's counters: found without a lock, written by this worker alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxBuildHasher;

use super::Ledger;
use super::counter::{Counter, CounterKey, instant};
use super::outbox::{Note, Outbox};
use super::record::{Place, Record, Value};
use super::segment::Segment;
use super::shelf::Desk;

/// Counters that are put away or moved in one turn: the worker has calls to serve.
const AT_ONCE: usize = 512;

/// One worker's part of the ledger.
#[derive(Debug)]
pub struct Book {
    ledger: Arc<Ledger>,
    desk: Arc<Desk>,
    outbox: Outbox,
    counters: RefCell<HashMap<CounterKey, Rc<Counter>, FxBuildHasher>>,
    hours: RefCell<BTreeMap<i64, VecDeque<Rc<Counter>>>>,
    segment: RefCell<Option<Arc<Segment>>>,
    /// Counters that were made while there was no room on the disk.
    in_memory: RefCell<Vec<Weak<Counter>>>,
}

impl Book {
    pub(super) fn new(ledger: Arc<Ledger>, desk: Arc<Desk>, outbox: Outbox) -> Self {
        let segment = ledger.store.shelf.segment(desk.worker);
        Self {
            ledger,
            desk,
            outbox,
            counters: RefCell::default(),
            hours: RefCell::default(),
            segment: RefCell::new(segment),
            in_memory: RefCell::default(),
        }
    }

    /// Finds a counter or makes it. One look into the worker's own map when it exists.
    ///
    /// An hour that was closed is counted in the first that is open: after a step back of the wall clock a
    /// call may be counted in a later hour, but is never lost.
    pub fn counter(&self, key: CounterKey) -> Rc<Counter> {
        if let Some(counter) = self.counters.borrow().get(&key) {
            return Rc::clone(counter);
        }
        self.make(key)
    }

    /// Hands the first bytes of a call to its upstream and counts it, as one act: whenever the process is
    /// killed, the call is counted if the kernel has taken at least a byte, and else it isn't.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the socket has no room. The call is not counted then.
    pub fn send(
        &self,
        counter: &Counter,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        now_ms: i64,
    ) -> io::Result<usize> {
        let taken = self.send_uncounted(counter, socket, bytes, now_ms)?;
        if taken > 0 {
            counter.accepted(now_ms);
        }
        Ok(taken)
    }

    /// The first half of [`Self::send`]: from here on it is counted, if need be by the next start.
    pub(super) fn send_uncounted(
        &self,
        counter: &Counter,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        now_ms: i64,
    ) -> io::Result<usize> {
        let record = counter.record();
        let note = Note {
            // No segment has this number.
            place: record.place.unwrap_or(Place {
                segment: u64::MAX,
                index: 0,
            }),
            accepted: record.value(Value::Accepted) + 1,
            at_ms: instant(now_ms),
        };
        self.outbox.send(socket, bytes, note)
    }

    fn make(&self, wanted: CounterKey) -> Rc<Counter> {
        loop {
            let key = CounterKey {
                hour: wanted.hour.max(self.ledger.first_open_hour()),
                ..wanted
            };
            if let Some(counter) = self.counters.borrow().get(&key) {
                return Rc::clone(counter);
            }
            let record = Arc::new(self.record(&key));
            // `None`: the hour was closed meanwhile. The record stays empty, which harms nobody.
            let Some(entry) = self.ledger.enter(key, &record) else {
                continue;
            };
            let is_in_memory = record.place.is_none();
            let counter = Rc::new(Counter::new(entry, record));
            if is_in_memory {
                self.remember(&counter);
            }
            self.counters.borrow_mut().insert(key, Rc::clone(&counter));
            let mut hours = self.hours.borrow_mut();
            hours.entry(key.hour).or_default().push_back(Rc::clone(&counter));
            return counter;
        }
    }

    /// A record for a new counter: on the disk when there is room.
    fn record(&self, key: &CounterKey) -> Record {
        self.on_disk(key).unwrap_or_else(|| {
            self.want_spare();
            Record::in_memory(key, self.ledger.boot_epoch())
        })
    }

    fn on_disk(&self, key: &CounterKey) -> Option<Record> {
        let mut current = self.segment.borrow_mut();
        let epoch = self.ledger.boot_epoch();
        if let Some(segment) = current.as_ref()
            && let Some(record) = segment.append(key, epoch)
        {
            if segment.is_nearly_full() {
                self.want_spare();
            }
            return Some(record);
        }
        let spare = self.desk.spare.lock().take();
        *current = spare.or_else(|| self.ledger.store.shelf.segment(self.desk.worker));
        current.as_ref()?.append(key, epoch)
    }

    /// Notes a counter that is in memory alone.
    fn remember(&self, counter: &Rc<Counter>) {
        let mut in_memory = self.in_memory.borrow_mut();
        if in_memory.len() == in_memory.capacity() {
            in_memory.retain(|counter| counter.strong_count() > 0);
        }
        in_memory.push(Rc::downgrade(counter));
        self.desk.in_memory.store(in_memory.len(), Ordering::Relaxed);
    }

    fn want_spare(&self) {
        if !self.desk.wants_spare.swap(true, Ordering::AcqRel) {
            self.ledger.store.bell.ring();
        }
    }

    /// Puts away counters of closed hours that no call holds, and moves what is in memory alone to the disk, when
    /// it has room again. To be called now and then; costs nearly nothing when there is nothing to do.
    pub fn tidy(&self) {
        if self.desk.in_memory.load(Ordering::Relaxed) > 0 {
            self.save();
        }
        let first_open = self.ledger.first_open_hour();
        let mut hours = self.hours.borrow_mut();
        if hours
            .first_key_value()
            .is_none_or(|(oldest, _)| *oldest >= first_open)
        {
            return;
        }
        let mut left = AT_ONCE;
        for (_, counters) in hours.range_mut(..first_open) {
            for _ in 0..left.min(counters.len()) {
                left -= 1;
                let Some(counter) = counters.pop_back() else { break };
                // Here and in the map.
                if Rc::strong_count(&counter) == 2 {
                    self.counters.borrow_mut().remove(counter.key());
                } else {
                    counters.push_front(counter);
                }
            }
        }
        hours.retain(|_, counters| !counters.is_empty());
    }

    fn save(&self) {
        let mut in_memory = self.in_memory.borrow_mut();
        for _ in 0..AT_ONCE {
            let Some(last) = in_memory.last() else { break };
            if let Some(counter) = last.upgrade() {
                let Some(record) = self.on_disk(counter.key()) else {
                    self.want_spare();
                    break;
                };
                counter.move_to(record);
            }
            in_memory.pop();
        }
        self.desk.in_memory.store(in_memory.len(), Ordering::Relaxed);
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        self.desk.in_memory.store(0, Ordering::Relaxed);
        self.desk.wants_spare.store(false, Ordering::Relaxed);
        self.desk.spare.lock().take();
    }
}
