//! How fast each credential may call: one token bucket a key, in this process. Only identified callers have one,
//! and those that are full again are forgotten, so that memory follows the keys in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_contract::Limits;
use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::bucket::{Bucket, Level, Taken};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Calls between two sweeps of what need not be remembered.
const SWEEP_EVERY: usize = 4_096;

/// The buckets of one surface.
#[derive(Debug)]
pub struct CallLimits {
    limits: Limits,
    buckets: DashMap<Uuid, Bucket>,
    calls: AtomicUsize,
}

/// What the headers of an answer say of its caller's bucket.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    burst: u32,
    remaining: u32,
    reset: i64,
}

impl CallLimits {
    /// Buckets of this rate and burst.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buckets: DashMap::new(),
            calls: AtomicUsize::new(0),
        }
    }

    /// Takes one call, or says when there is one again.
    ///
    /// # Errors
    /// The whole seconds to wait, at least one.
    pub fn take(&self, key: Uuid, clock: &Clock) -> (Meter, Result<(), u64>) {
        let now = clock.monotonic();
        self.sweep(now);
        let taken = self
            .buckets
            .entry(key)
            .or_insert_with(|| Bucket::full(self.limits, now))
            .take(self.limits, now);
        match taken {
            Taken::Granted(level) => (self.meter(level, clock), Ok(())),
            Taken::Empty { retry_after } => {
                let level = Level {
                    remaining: 0,
                    full_in: retry_after,
                };
                let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
                (self.meter(level, clock), Err(seconds))
            }
        }
    }

    /// Looks without taking, for calls that are refused for another reason.
    pub fn look(&self, key: Uuid, clock: &Clock) -> Meter {
        let now = clock.monotonic();
        let level = match self.buckets.get_mut(&key) {
            Some(mut bucket) => bucket.look(self.limits, now),
            None => Bucket::full(self.limits, now).look(self.limits, now),
        };
        self.meter(level, clock)
    }

    fn meter(&self, level: Level, clock: &Clock) -> Meter {
        let full_in = i64::try_from(level.full_in.as_millis()).unwrap_or(i64::MAX);
        let reset_ms = clock.now().0.saturating_add(full_in);
        Meter {
            burst: self.limits.burst,
            remaining: level.remaining,
            reset: reset_ms.saturating_add(999).div_euclid(1_000),
        }
    }

    fn sweep(&self, now: Duration) {
        if self.calls.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.buckets.retain(|_, bucket| !bucket.is_full(self.limits, now));
        }
    }
}

impl Meter {
    /// Puts what it says on an answer.
    pub fn put_on(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.burst));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
    }
}
