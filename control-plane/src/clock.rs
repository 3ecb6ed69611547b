//! The one place where the control plane reads clocks. Everything below takes the time as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyward_contract::UnixMillis;

/// What tells the time: the system, or a test.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    ahead_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self {
            started: Instant::now(),
            ahead_ms: Arc::default(),
        }
    }

    /// Sets this clock and its clones ahead of the system's, so that a test needn't wait for a key to expire.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Now, by the calendar.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        // Before 1970 there were no clocks: it is 1970 there.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        UnixMillis(ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed)))
    }

    /// Time that never goes back, for rates.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        let ahead = u64::try_from(self.ahead_ms.load(Ordering::Relaxed)).unwrap_or_default();
        self.started
            .elapsed()
            .saturating_add(Duration::from_millis(ahead))
    }
}
