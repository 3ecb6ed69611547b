//! Pauses between attempts: full jitter, so that gateways that lost one control plane don't come back as one.
//!
//! A control plane that restarts loses all of its gateways in the same moment. Those that know another one go there
//! at once, within the first bound: it is up, and a gateway that is in force again soon matters more than its few hundred
//! handshakes. Those that know only this one can't be served before it is back, so they spread over a second; whoever
//! finds it still away comes again within two, four and at last five. Streams are let in without waiting for snapshots, which are
//! sent a few at a time. So the herd is spread, and who has another address is there within three seconds.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// The first bound after a stream that held, when the next attempt goes to the same address.
const SAME_ADDRESS: Duration = Duration::from_secs(1);
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
    /// Of who has lost a stream that held, and knows so many addresses.
    #[must_use]
    pub fn after_loss(addresses: usize) -> Self {
        let bound = if addresses > 1 { FIRST } else { SAME_ADDRESS };
        Self { bound }
    }

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

    #[test]
    fn who_lost_its_only_control_plane_spreads_over_a_second_and_others_go_on_at_once() {
        let bounds = |mut backoff: Backoff| {
            backoff.pause();
            backoff.bound
        };
        assert_eq!(Backoff::after_loss(1).bound, SAME_ADDRESS);
        assert_eq!(Backoff::after_loss(2).bound, FIRST);
        assert_eq!(bounds(Backoff::after_loss(1)), 2 * SAME_ADDRESS);
        // However unlucky, two failed rounds of two addresses take less than three seconds.
        let mut unlucky = Backoff::after_loss(2);
        let longest: Duration = (0..4)
            .map(|_| {
                let bound = unlucky.bound;
                unlucky.pause();
                bound
            })
            .sum();
        assert!(longest < Duration::from_secs(3), "{longest:?}");
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
