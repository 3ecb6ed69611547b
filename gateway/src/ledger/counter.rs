//! One counter: absolute values that only grow. Every worker that counts under a key has a record of its own,
//! which it alone writes; what is reported is their sum.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use keyward_contract::{AccountId, CustomerId, Environment, KeyId};
use parking_lot::Mutex;

use super::changed::Changed;
use super::record::{Record, Tally, Value};

/// Who called what, in which hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey {
    /// Whose account.
    pub account: AccountId,
    /// Which of its environments.
    pub environment: Environment,
    /// The end customer, when there was one.
    pub customer: Option<CustomerId>,
    /// The account key, when one was presented and known.
    pub account_key: Option<KeyId>,
    /// The customer key, when one was presented and known.
    pub customer_key: Option<KeyId>,
    /// The route's place in the names that the ledger was opened with.
    pub route: u16,
    /// Whole hours since 1970.
    pub hour: i64,
}

/// What all workers count under one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: CounterKey,
    is_marked: AtomicBool,
    records: Mutex<Vec<Arc<Record>>>,
    changed: Arc<Changed>,
}

impl Entry {
    pub(super) fn new(key: CounterKey, changed: &Arc<Changed>) -> Arc<Self> {
        changed.make_room();
        Arc::new(Self {
            key,
            is_marked: AtomicBool::default(),
            records: Mutex::default(),
            changed: Arc::clone(changed),
        })
    }

    /// One more worker counts.
    pub(super) fn join(&self, record: &Arc<Record>) {
        self.records.lock().push(Arc::clone(record));
    }

    /// One record takes the place of another, to which nothing is added any more.
    fn exchange(&self, old: &Arc<Record>, new: &Arc<Record>) {
        // Within the lock: a sum has either the one or the other.
        let mut records = self.records.lock();
        new.take(&old.tally());
        records
            .iter_mut()
            .filter(|record| Arc::ptr_eq(record, old))
            .for_each(|record| *record = Arc::clone(new));
    }

    /// The sum over all workers.
    pub(super) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.records
            .lock()
            .iter()
            .for_each(|record| sum.join(&record.tally()));
        sum
    }

    /// Puts it on the list of what is to be reported, unless it is there.
    pub(super) fn mark(self: &Arc<Self>) {
        if !self.is_marked.load(Ordering::Relaxed) && !self.is_marked.swap(true, Ordering::SeqCst) {
            self.changed.push(Arc::clone(self));
        }
    }

    /// It was taken off the list and is about to be read.
    pub(super) fn unmark(&self) {
        self.is_marked.store(false, Ordering::SeqCst);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.changed.give_back_room();
    }
}

/// One worker's side of a counter. Every method is a few plain stores into the worker's own record.
#[derive(Debug)]
pub struct Counter {
    entry: Arc<Entry>,
    made: Arc<Record>,
    /// Where it counts since a disk that was full has room again.
    moved: OnceCell<Arc<Record>>,
}

impl Counter {
    pub(super) fn new(entry: Arc<Entry>, record: Arc<Record>) -> Self {
        Self {
            entry,
            made: record,
            moved: OnceCell::new(),
        }
    }

    /// What it counts.
    #[must_use]
    pub fn key(&self) -> &CounterKey {
        &self.entry.key
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        self.moved.get().unwrap_or(&self.made)
    }

    /// Counts on in another record.
    pub(super) fn move_to(&self, record: Record) {
        let record = Arc::new(record);
        self.entry.exchange(&self.made, &record);
        let _ = self.moved.set(record);
    }

    /// A call was handed to an upstream's connection, or is about to be told that it may pass; where it has a connection of its
    /// own, [`super::Book::send`] is how.
    pub(crate) fn accepted(&self, now_ms: i64) {
        self.at(Value::Accepted, Value::LastAccepted, now_ms);
    }

    /// A call was refused for a rate.
    pub fn rate_limited(&self, now_ms: i64) {
        self.at(Value::RateLimited, Value::LastRefused, now_ms);
    }

    /// A call was refused for the quota.
    pub fn quota_refused(&self, now_ms: i64) {
        self.at(Value::QuotaRefused, Value::LastRefused, now_ms);
    }

    /// A call was refused for the key, the customer or the account.
    pub fn auth_refused(&self, now_ms: i64) {
        self.at(Value::AuthRefused, Value::LastRefused, now_ms);
    }

    /// A call went on that a limit in shadow mode would have refused.
    pub fn would_limit(&self) {
        self.record().add(Value::WouldLimit, 1);
        self.changed();
    }

    /// The upstream's answer has ended.
    pub fn answered(&self, status: u16, bytes_in: u64, bytes_out: u64, latency_us: u64) {
        let record = self.record();
        if let Some(class) = usize::from(status / 100).checked_sub(1) {
            record.add_answer(class);
        }
        record.add(Value::BytesIn, bytes_in);
        record.add(Value::BytesOut, bytes_out);
        record.add(Value::Latency, latency_us);
        self.changed();
    }

    /// The end customer's bucket, as this call left it.
    pub fn bucket(&self, millitokens: u64, at_ms: i64) {
        let (record, at_ms) = (self.record(), instant(at_ms));
        if record.value(Value::BucketAt) <= at_ms {
            record.set(Value::BucketMillitokens, millitokens);
            record.set(Value::BucketAt, at_ms);
        }
        self.changed();
    }

    fn at(&self, count: Value, last: Value, now_ms: i64) {
        let record = self.record();
        record.raise(last, instant(now_ms));
        record.add(count, 1);
        self.changed();
    }

    fn changed(&self) {
        self.record().touch();
        // See `Changed::take`.
        fence(Ordering::SeqCst);
        self.entry.mark();
    }
}

/// Milliseconds since 1970, as a record keeps them.
pub(super) fn instant(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or_default()
}
