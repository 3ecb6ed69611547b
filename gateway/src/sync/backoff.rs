//! Pauses between attempts: full jitter, so that gateways that lost one control plane don't come back as one.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Doubles its bound with every pause; a pause is any time from nothing to the bound.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    bound: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { bound: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        self.pause_by(crate::random::next())
    }

    fn pause_by(&mut self, random: u64) -> Duration {
        let bound = self.bound;
        self.bound = bound.saturating_mul(2).min(LONGEST);
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random % (bound_us + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bound_doubles_from_100_ms_to_5_s() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u64> = (0..8)
            .map(|_| {
                let bound = backoff.bound.as_millis().try_into().unwrap();
                backoff.pause();
                bound
            })
            .collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    proptest! {
        #[test]
        fn a_pause_lies_below_its_bound(randoms in proptest::collection::vec(any::<u64>(), 1..20)) {
            let mut backoff = Backoff::default();
            for random in randoms {
                let bound = backoff.bound;
                prop_assert!(backoff.pause_by(random) <= bound);
            }
        }
    }
}
