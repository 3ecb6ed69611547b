//! Whether a call may be sent again: an upstream's retry budget.
//!
//! Of an upstream's repeats, each is either one of the first `min_per_second` in its second, or all repeats of the last ten seconds with it are at
//! most the `budget` share of the calls of those seconds. So a failing upstream gets hardly more calls than a healthy one, whatever fails.
//!
//! Cost: counting a call is one load and one store to memory that only its worker writes ([`CallCount`]); only who
//! wants to repeat takes a lock and reads what all workers counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyward_config::Retries;
use parking_lot::Mutex;

/// The seconds over which the share is counted.
const WINDOW: u64 = 10;

/// An upstream's budget, of all workers.
#[derive(Debug)]
pub struct RetryBudget {
    rules: Retries,
    workers: Mutex<Vec<Arc<CallCount>>>,
    repeats: Mutex<[Second; WINDOW as usize]>,
}

/// The calls of one worker: each of the last ten seconds in a place of its own, as the second and how many.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CallCount([AtomicU64; WINDOW as usize]);

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    second: u64,
    count: u32,
}

impl CallCount {
    /// Counts a call that begins now. Only ever called by the one worker.
    pub fn add(&self, now: Duration) {
        let second = now.as_secs();
        let Some(place) = self.0.get(place_of(second)) else {
            return;
        };
        let known = unpack(place.load(Ordering::Relaxed));
        let count = if known.second == second {
            known.count.saturating_add(1)
        } else {
            1
        };
        place.store(pack(Second { second, count }), Ordering::Relaxed);
    }

    fn recent(&self, second: u64) -> u64 {
        let seconds = self.0.iter().map(|place| unpack(place.load(Ordering::Relaxed)));
        sum(seconds, second)
    }
}

impl RetryBudget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(rules: Retries) -> Self {
        Self {
            rules,
            workers: Mutex::default(),
            repeats: Mutex::default(),
        }
    }

    /// What is repeated, and how often.
    #[must_use]
    pub fn rules(&self) -> &Retries {
        &self.rules
    }

    /// Where a worker counts its calls.
    #[must_use]
    pub fn worker(&self) -> Arc<CallCount> {
        let calls = Arc::new(CallCount::default());
        self.workers.lock().push(Arc::clone(&calls));
        calls
    }

    /// Takes one repeat out of the budget; `false` when there is none.
    #[must_use]
    pub fn take(&self, now: Duration) -> bool {
        let second = now.as_secs();
        let mut repeats = self.repeats.lock();
        let spent = sum(repeats.iter().copied(), second);
        let Some(place) = repeats.get_mut(place_of(second)) else {
            return false;
        };
        if place.second != second {
            *place = Second { second, count: 0 };
        }
        if place.count >= self.rules.min_per_second {
            let calls = self
                .workers
                .lock()
                .iter()
                .map(|worker| worker.recent(second))
                .sum();
            if spent + 1 > self.rules.budget.of(calls) {
                return false;
            }
        }
        place.count = place.count.saturating_add(1);
        true
    }

    /// The most that is waited before this repeat, the first being 1.
    #[must_use]
    pub fn longest_pause(&self, repeat: u32) -> Duration {
        let times = 1_u32.checked_shl(repeat.saturating_sub(1)).unwrap_or(u32::MAX);
        self.rules.backoff.saturating_mul(times)
    }

    /// How long to wait before it: anything up to that.
    #[must_use]
    pub fn pause(&self, repeat: u32, random: u64) -> Duration {
        // The upper half of the bits as a share of all that they could be.
        self.longest_pause(repeat)
            .mul_f64((random >> 32) as f64 / f64::from(u32::MAX))
    }
}

fn place_of(second: u64) -> usize {
    usize::try_from(second % WINDOW).unwrap_or_default()
}

/// What was counted in this second and the nine before it.
fn sum(seconds: impl Iterator<Item = Second>, now: u64) -> u64 {
    seconds
        .filter(|known| known.second <= now && now - known.second < WINDOW)
        .map(|known| u64::from(known.count))
        .sum()
}

fn pack(Second { second, count }: Second) -> u64 {
    second << 32 | u64::from(count)
}

fn unpack(packed: u64) -> Second {
    Second {
        second: packed >> 32,
        // The lower half.
        count: packed as u32,
    }
}

#[cfg(test)]
mod tests {
    use keyward_config::Portion;
    use proptest::prelude::*;

    use super::*;

    fn budget(share: u8, min_per_second: u32) -> RetryBudget {
        RetryBudget::new(Retries {
            attempts: 2,
            statuses: Vec::new(),
            budget: Portion::percent(share),
            min_per_second,
            backoff: Duration::from_millis(25),
        })
    }

    proptest! {
        /// Whatever comes when, over whichever worker: what is granted is in the share or in the second's least.
        #[test]
        fn repeats_never_exceed_the_budget(
            share in 0u8..=100,
            least in 0u32..5,
            events in prop::collection::vec((0u64..2_500, 0usize..3, any::<bool>()), 1..400),
        ) {
            let budget = budget(share, least);
            let workers = [budget.worker(), budget.worker(), budget.worker()];
            let (mut now, mut calls, mut granted) = (0, Vec::new(), Vec::new());
            for (pause_ms, worker, wants_repeat) in events {
                // Often several in one second, sometimes far apart.
                now += if pause_ms < 2_000 { pause_ms / 10 } else { pause_ms * 5 };
                let at = Duration::from_millis(now);
                if !wants_repeat {
                    workers[worker].add(at);
                    calls.push(at.as_secs());
                    continue;
                }
                let in_window = |seconds: &[u64]| seconds.iter().filter(|second| at.as_secs() - **second < WINDOW).count();
                let in_second = granted.iter().filter(|second| **second == at.as_secs()).count();
                let within_share = (in_window(&granted) + 1) * 100 <= in_window(&calls) * usize::from(share);
                let expected = in_second < least as usize || within_share;
                prop_assert_eq!(budget.take(at), expected);
                if expected {
                    granted.push(at.as_secs());
                }
            }
        }

        #[test]
        fn a_pause_is_within_its_bound(repeat in 1u32..5, random: u64) {
            let most = Duration::from_millis(25) * 2_u32.pow(repeat - 1);
            prop_assert!(budget(20, 0).pause(repeat, random) <= most);
        }
    }

    #[test]
    fn old_calls_buy_nothing() {
        let budget = budget(50, 0);
        let worker = budget.worker();
        (0..10).for_each(|_| worker.add(Duration::from_secs(1)));
        assert!(budget.take(Duration::from_secs(10)));
        assert!(!budget.take(Duration::from_secs(11)));
    }
}
