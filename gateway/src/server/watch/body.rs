//! How the body of the call that is served comes in: how long it was waited for, and how fast it is.
//!
//! Cost: two reads of the tick clock for each piece that was waited for.

use std::time::Duration;

use keyward_config::Timeouts;

use super::ConnectionState;

impl ConnectionState {
    /// A body follows the head of the call that has begun.
    pub fn body_began(&self) {
        self.owes_body.set(true);
        self.body_awaited.set(Duration::ZERO);
        self.body_bytes.set(0);
    }

    /// The call's body has come to its end.
    pub fn body_over(&self) {
        self.owes_body.set(false);
    }

    /// Whether a part of the last call's body has not come, or has not been read.
    #[must_use]
    pub fn owes_body(&self) -> bool {
        self.owes_body.get()
    }

    /// The call waits for a piece of its body.
    pub fn waits_for_body(&self) {
        if self.body_awaited_since.get().is_none() {
            self.body_awaited_since.set(Some(self.clock.get()));
        }
    }

    /// A piece of the body has come.
    pub fn got_body(&self) {
        if let Some(since) = self.body_awaited_since.take() {
            let waited = self.clock.get().saturating_sub(since);
            self.body_awaited.set(self.body_awaited.get() + waited);
        }
    }

    /// So much of the body has come.
    pub fn add_body(&self, bytes: usize) {
        self.body_bytes.set(self.body_bytes.get() + bytes as u64);
    }

    /// Whether the body comes too slowly. Only the time counts in which it was waited for, so that it is never the
    /// upstream's slowness; a body that comes in bursts is given as long as an idle one.
    pub(super) fn is_body_too_slow(&self, now: Duration, limits: &Timeouts) -> bool {
        let waiting = self
            .body_awaited_since
            .get()
            .map(|since| now.saturating_sub(since));
        let waited = self.body_awaited.get() + waiting.unwrap_or_default();
        let least = u128::from(limits.request_body_rate) * waited.as_millis() / 1000;
        waiting.is_some() && waited > limits.request_body_idle && u128::from(self.body_bytes.get()) < least
    }
}
