//! Time for the request path: read once a call, from the monotonic clock alone.
//!
//! Buckets, deadlines and latencies use monotonic time, so no step of the wall clock changes one. Expiries and
//! hours need the wall clock; its distance from the monotonic one is measured twice a second, off the request
//! path. One reading costs one `clock_gettime`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use keyward_contract::UnixMillis;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the gateway started; never goes back.
    pub monotonic: Duration,
    /// On the wall clock.
    pub unix: UnixMillis,
}

impl Now {
    /// Milliseconds since the gateway started, as buckets count them.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.monotonic.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The process's clock.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    /// Wall-clock milliseconds at `origin`.
    offset_ms: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        let clock = Self {
            origin: Instant::now(),
            offset_ms: AtomicI64::new(0),
        };
        clock.follow_wall_clock();
        clock
    }
}

impl Clock {
    /// This moment.
    #[must_use]
    pub fn now(&self) -> Now {
        let monotonic = self.origin.elapsed();
        let elapsed_ms = i64::try_from(monotonic.as_millis()).unwrap_or(i64::MAX);
        let unix = self.offset_ms.load(Ordering::Relaxed).saturating_add(elapsed_ms);
        Now {
            monotonic,
            unix: UnixMillis(unix),
        }
    }

    /// Where the monotonic clock began.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Measures how far the wall clock is from the monotonic one. To be called about twice a second.
    pub fn follow_wall_clock(&self) {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let elapsed_ms = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.offset_ms
            .store(wall_ms.saturating_sub(elapsed_ms), Ordering::Relaxed);
    }
}
