//! How a gateway stops: by itself, or because another one has taken over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::{Sums, catalogue};

/// Said once, read by every worker that drains.
#[derive(Debug)]
pub struct Parting {
    is_handed_over: AtomicBool,
    /// Monotonic milliseconds.
    end_by_ms: AtomicU64,
    has_taken_over: AtomicBool,
    failures: AtomicU64,
}

impl Default for Parting {
    fn default() -> Self {
        Self {
            is_handed_over: AtomicBool::new(false),
            end_by_ms: AtomicU64::new(u64::MAX),
            has_taken_over: AtomicBool::new(false),
            failures: AtomicU64::new(0),
        }
    }
}

impl Parting {
    /// Another gateway serves on the same sockets.
    pub fn hand_over(&self) {
        self.is_handed_over.store(true, Ordering::Release);
    }

    /// Whether another gateway serves on the same sockets: then what waits in their queues is its business.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.load(Ordering::Acquire)
    }

    /// This one serves on the sockets of another.
    pub fn took_over(&self) {
        self.has_taken_over.store(true, Ordering::Relaxed);
    }

    /// Another one was to take over, and did not.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds how hand-overs went.
    pub fn observe(&self, sums: &mut Sums) {
        let taken = u64::from(self.has_taken_over.load(Ordering::Relaxed));
        let failures = self.failures.load(Ordering::Relaxed);
        for (outcome, count) in [("taken_over", taken), ("failed", failures)] {
            sums.counter(&catalogue::UPGRADES, [outcome], count);
        }
    }

    /// Every call is to have ended by then, monotonic, whatever the drain would allow.
    pub fn hurry(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.end_by_ms.fetch_min(by, Ordering::AcqRel);
    }

    /// When every call is to have ended, monotonic.
    #[must_use]
    pub fn end_by(&self) -> Duration {
        Duration::from_millis(self.end_by_ms.load(Ordering::Acquire))
    }
}
