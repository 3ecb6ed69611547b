//! Which of a gateway's heartbeats may be echoed: those that every control plane knows to have been heard.

use std::collections::VecDeque;
use std::time::Instant;

/// What a gateway's heartbeats are answered with: the steady clock of the newest one that may be echoed.
#[derive(Debug, Default)]
pub struct Echo {
    told: u64,
    /// Heard, and not yet written down for other control planes.
    waiting: VecDeque<(Instant, u64)>,
}

/// More heartbeats than a gateway sends in ten seconds.
const MOST_WAITING: usize = 16;

impl Echo {
    /// A heartbeat with this steady clock came.
    pub fn heard(&mut self, steady_ms: u64, now: Instant) {
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((now, steady_ms));
    }

    /// What was heard up to here is written down; whether that is news for the gateway.
    pub fn recorded(&mut self, until: Instant) -> bool {
        let known = self.waiting.partition_point(|(heard, _)| *heard <= until);
        let newest = self.waiting.drain(..known).next_back();
        if let Some((_, steady_ms)) = newest {
            self.told = steady_ms;
        }
        newest.is_some()
    }

    /// What heartbeats to the gateway say; 0 before the first.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told
    }
}
