//! One counter: absolute values that only grow.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, feed};

use super::changed::Changed;

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

/// Counts for one key. Every method is a few atomic operations.
///
/// All of them are sequentially consistent: a counter is marked as changed after its value has grown, and
/// unmarked before it is read, so that either the reader sees the growth or the counter is marked again.
#[derive(Debug)]
pub struct Counter {
    key: CounterKey,
    accepted: AtomicU64,
    rate_limited: AtomicU64,
    quota_refused: AtomicU64,
    auth_refused: AtomicU64,
    would_limit: AtomicU64,
    answers: [AtomicU64; 5],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    latency_us: AtomicU64,
    last_accepted_ms: AtomicI64,
    last_refused_ms: AtomicI64,
    bucket_millitokens: AtomicU64,
    bucket_at_ms: AtomicI64,
    is_marked: AtomicBool,
    changed: Arc<Changed>,
    myself: Weak<Counter>,
}

impl Counter {
    pub(super) fn new(key: CounterKey, changed: Arc<Changed>) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            key,
            accepted: AtomicU64::default(),
            rate_limited: AtomicU64::default(),
            quota_refused: AtomicU64::default(),
            auth_refused: AtomicU64::default(),
            would_limit: AtomicU64::default(),
            answers: Default::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            latency_us: AtomicU64::default(),
            last_accepted_ms: AtomicI64::default(),
            last_refused_ms: AtomicI64::default(),
            bucket_millitokens: AtomicU64::default(),
            bucket_at_ms: AtomicI64::default(),
            is_marked: AtomicBool::default(),
            changed,
            myself: Weak::clone(myself),
        })
    }

    /// What it counts.
    #[must_use]
    pub fn key(&self) -> &CounterKey {
        &self.key
    }

    /// A call was sent to an upstream.
    pub fn accepted(&self, now_ms: i64) {
        self.last_accepted_ms.fetch_max(now_ms, Ordering::SeqCst);
        self.count(&self.accepted);
    }

    /// A call was refused for a rate.
    pub fn rate_limited(&self, now_ms: i64) {
        self.refused(&self.rate_limited, now_ms);
    }

    /// A call was refused for the quota.
    pub fn quota_refused(&self, now_ms: i64) {
        self.refused(&self.quota_refused, now_ms);
    }

    /// An accepted call would have been refused by a limit in shadow mode.
    pub fn would_limit(&self) {
        self.count(&self.would_limit);
    }

    /// A call was refused for the key, the customer or the account.
    pub fn auth_refused(&self, now_ms: i64) {
        self.refused(&self.auth_refused, now_ms);
    }

    /// The upstream's answer has ended.
    pub fn answered(&self, status: u16, bytes_in: u64, bytes_out: u64, latency_us: u64) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(answers) = class.and_then(|class| self.answers.get(class)) {
            answers.fetch_add(1, Ordering::SeqCst);
        }
        self.bytes_in.fetch_add(bytes_in, Ordering::SeqCst);
        self.bytes_out.fetch_add(bytes_out, Ordering::SeqCst);
        self.latency_us.fetch_add(latency_us, Ordering::SeqCst);
        self.mark();
    }

    /// The end customer's bucket, as this call left it. Of two at one time, either may stay.
    pub fn bucket(&self, millitokens: u64, at_ms: i64) {
        if self.bucket_at_ms.fetch_max(at_ms, Ordering::SeqCst) <= at_ms {
            self.bucket_millitokens.store(millitokens, Ordering::SeqCst);
        }
        self.mark();
    }

    fn refused(&self, count: &AtomicU64, now_ms: i64) {
        self.last_refused_ms.fetch_max(now_ms, Ordering::SeqCst);
        self.count(count);
    }

    fn count(&self, count: &AtomicU64) {
        count.fetch_add(1, Ordering::SeqCst);
        self.mark();
    }

    /// Puts it on the list of what is to be reported, unless it is there.
    pub(super) fn mark(&self) {
        if !self.is_marked.load(Ordering::SeqCst)
            && !self.is_marked.swap(true, Ordering::SeqCst)
            && let Some(myself) = self.myself.upgrade()
        {
            self.changed.push(myself);
        }
    }

    /// It was taken off the list and is about to be read.
    pub(super) fn unmark(&self) {
        self.is_marked.store(false, Ordering::SeqCst);
    }

    /// Its values as they are now; route and boot epoch are the ledger's to add.
    pub(super) fn wire(&self) -> feed::UsageCounter {
        let value = |value: &AtomicU64| value.load(Ordering::SeqCst);
        let id = |key: Option<KeyId>| key.map(|id| id.as_uuid().as_bytes().to_vec()).unwrap_or_default();
        let bucket_at_ms = self.bucket_at_ms.load(Ordering::SeqCst);
        feed::UsageCounter {
            account_id: self.key.account.as_uuid().as_bytes().to_vec(),
            environment: feed::Environment::from(self.key.environment).into(),
            customer_id: self.key.customer.map(|id| id.to_string()).unwrap_or_default(),
            account_key_id: id(self.key.account_key),
            customer_key_id: id(self.key.customer_key),
            hour: self.key.hour,
            accepted: value(&self.accepted),
            rate_limited: value(&self.rate_limited),
            quota_refused: value(&self.quota_refused),
            auth_refused: value(&self.auth_refused),
            answers: self.answers.iter().map(value).collect(),
            bytes_in: value(&self.bytes_in),
            bytes_out: value(&self.bytes_out),
            latency_us: value(&self.latency_us),
            last_accepted_at_ms: self.last_accepted_ms.load(Ordering::SeqCst),
            last_refused_at_ms: self.last_refused_ms.load(Ordering::SeqCst),
            bucket_millitokens: value(&self.bucket_millitokens),
            bucket_at_ms,
            would_limit: value(&self.would_limit),
            ..feed::UsageCounter::default()
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.changed.give_back_room();
    }
}
