//! How a shared bucket stood when it was last heard of: a sequence lock, so that a call reads it without waiting.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use keyward_contract::Limits;

use super::{LEASE_MS, capacity};

/// How the shared bucket stood when it was last heard of. One writer at a time (who has the
/// lease's book); a reader that meets a write reads again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    version: AtomicU32,
    level: AtomicI64,
    held_elsewhere: AtomicU64,
    born: AtomicU64,
    at_ms: AtomicU64,
}

/// One look at it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    pub(super) level: i64,
    pub(super) held_elsewhere: u64,
    /// 0: never heard of.
    pub(super) born: u64,
    pub(super) at_ms: u64,
}

impl Seen {
    pub(super) fn write(&self, sight: Sight) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.level.store(sight.level, Ordering::Relaxed);
        self.held_elsewhere.store(sight.held_elsewhere, Ordering::Relaxed);
        self.born.store(sight.born, Ordering::Relaxed);
        self.at_ms.store(sight.at_ms, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    pub(super) fn read(&self) -> Sight {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let sight = Sight {
                level: self.level.load(Ordering::Relaxed),
                held_elsewhere: self.held_elsewhere.load(Ordering::Relaxed),
                born: self.born.load(Ordering::Relaxed),
                at_ms: self.at_ms.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return sight;
            }
            std::hint::spin_loop();
        }
    }
}

impl Sight {
    /// What is in the shared bucket now if nobody took anything since.
    pub(super) fn level(&self, now_ms: u64, limits: Limits) -> i64 {
        let capacity = capacity(limits);
        if self.born == 0 {
            return capacity as i64;
        }
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let gained = i64::try_from(elapsed.saturating_mul(u64::from(limits.rate))).unwrap_or(i64::MAX);
        // What others held then has ended by now, or they have it still.
        let held = if elapsed < LEASE_MS {
            self.held_elsewhere
        } else {
            0
        };
        let most = capacity.saturating_sub(held) as i64;
        self.level.saturating_add(gained).min(most)
    }
}
