//! A token bucket for management calls. Pure: the clock is monotonic time, passed in. Tokens are counted in
//! thousandths, so that no rounding ever gives a call away.

use std::time::Duration;

use keyward_contract::Limits;

const TOKEN: u64 = 1_000;

/// The level of one credential's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    millitokens: u64,
    at: Duration,
}

/// What a look into a bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Whole tokens left.
    pub remaining: u32,
    /// How long until it is full.
    pub full_in: Duration,
}

/// What became of a wish for one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One was there; this is what is left.
    Granted(Level),
    /// None was there.
    Empty {
        /// How long until there is one.
        retry_after: Duration,
    },
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(limits: Limits, now: Duration) -> Self {
        Self {
            millitokens: u64::from(limits.burst) * TOKEN,
            at: now,
        }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, limits: Limits, now: Duration) -> Taken {
        self.refill(limits, now);
        if self.millitokens < TOKEN {
            return Taken::Empty {
                retry_after: time_for(TOKEN - self.millitokens, limits.rate),
            };
        }
        self.millitokens -= TOKEN;
        Taken::Granted(self.level(limits))
    }

    /// Looks without taking.
    pub fn look(&mut self, limits: Limits, now: Duration) -> Level {
        self.refill(limits, now);
        self.level(limits)
    }

    /// Whether forgetting it would change nothing.
    #[must_use]
    pub fn is_full(&self, limits: Limits, now: Duration) -> bool {
        let mut later = *self;
        later.refill(limits, now);
        later.millitokens == u64::from(limits.burst) * TOKEN
    }

    fn level(self, limits: Limits) -> Level {
        let capacity = u64::from(limits.burst) * TOKEN;
        Level {
            remaining: u32::try_from(self.millitokens / TOKEN).unwrap_or(u32::MAX),
            full_in: time_for(capacity.saturating_sub(self.millitokens), limits.rate),
        }
    }

    /// A rate of one token a second is one thousandth a millisecond.
    fn refill(&mut self, limits: Limits, now: Duration) {
        let capacity = u64::from(limits.burst) * TOKEN;
        let elapsed_ms = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        let gained = elapsed_ms.saturating_mul(u64::from(limits.rate));
        self.millitokens = self.millitokens.saturating_add(gained).min(capacity);
        // What is left of a millisecond counts towards the next look.
        self.at = self.at.saturating_add(Duration::from_millis(elapsed_ms));
    }
}

fn time_for(millitokens: u64, rate: u32) -> Duration {
    Duration::from_millis(millitokens.div_ceil(u64::from(rate.max(1))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { rate: 20, burst: 40 };

    #[test]
    fn a_burst_passes_and_the_next_call_is_told_when_to_come_back() {
        let mut bucket = Bucket::full(LIMITS, Duration::ZERO);
        for left in (0..40).rev() {
            let Taken::Granted(level) = bucket.take(LIMITS, Duration::ZERO) else {
                panic!("refused with {left} left")
            };
            assert_eq!(level.remaining, left);
        }
        let retry_after = Duration::from_millis(50);
        assert_eq!(bucket.take(LIMITS, Duration::ZERO), Taken::Empty { retry_after });
        assert!(matches!(bucket.take(LIMITS, retry_after), Taken::Granted(_)));
        assert_eq!(bucket.look(LIMITS, retry_after).full_in, Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn never_more_than_rate_times_time_plus_burst(
            rate in 1u32..100, burst in 1u32..100, waits in proptest::collection::vec(0u64..200_000, 1..200),
        ) {
            let limits = Limits { rate, burst };
            let mut now = Duration::ZERO;
            let mut bucket = Bucket::full(limits, now);
            let mut granted = 0u64;
            for wait in waits {
                now += Duration::from_micros(wait);
                granted += u64::from(matches!(bucket.take(limits, now), Taken::Granted(_)));
                let most = u64::from(burst) + u64::from(rate) * u64::try_from(now.as_millis()).unwrap() / 1_000;
                prop_assert!(granted <= most);
            }
        }

        #[test]
        fn waiting_as_told_is_enough(rate in 1u32..5_000, burst in 1u32..50, start in 0u64..1_000_000) {
            let limits = Limits { rate, burst };
            let now = Duration::from_micros(start);
            let mut bucket = Bucket::full(limits, now);
            let retry_after = loop {
                if let Taken::Empty { retry_after } = bucket.take(limits, now) {
                    break retry_after;
                }
            };
            prop_assert!(matches!(bucket.take(limits, now + retry_after), Taken::Granted(_)));
        }
    }
}
