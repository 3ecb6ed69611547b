//! One token bucket in this process, spent without locks.
//!
//! Tokens are counted in thousandths, so one millisecond at `rate` tokens a second is exactly `rate`
//! thousandths and nothing is ever rounded. Time is the gateway's monotonic milliseconds. A bucket starts full.
//! A lower rate or burst holds for what is left at once; a higher one gives no more than the new burst.
//! Taking costs two to three atomic operations on one cache line; time never goes backwards for a bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyward_contract::Limits;

const MILLITOKENS: u64 = 1_000;

/// A bucket of one account and environment, or of one end customer.
#[derive(Debug)]
pub struct Bucket {
    millitokens: AtomicU64,
    /// Until when the passing of time has been credited, monotonic milliseconds.
    credited_ms: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        // More than any burst: the first look clamps it to a full bucket.
        Self {
            millitokens: AtomicU64::new(u64::MAX),
            credited_ms: AtomicU64::new(0),
        }
    }
}

/// What is in a bucket at one moment, under the limits of that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Thousandths of a token.
    pub millitokens: u64,
    /// The limits it was read under.
    pub limits: Limits,
}

impl Level {
    /// Whole tokens left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.millitokens / MILLITOKENS
    }

    /// How long until the bucket is full.
    #[must_use]
    pub fn until_full(&self) -> Duration {
        self.until(u64::from(self.limits.burst) * MILLITOKENS)
    }

    /// How long until `tokens` can be taken.
    #[must_use]
    pub fn until_available(&self, tokens: u32) -> Duration {
        self.until(u64::from(tokens) * MILLITOKENS)
    }

    fn until(&self, wanted: u64) -> Duration {
        let missing = wanted.saturating_sub(self.millitokens);
        Duration::from_millis(missing.div_ceil(u64::from(self.limits.rate).max(1)))
    }
}

/// The answer of [`Bucket::take`], with what is in the bucket afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The tokens were there and are spent.
    Yes(Level),
    /// They were not; nothing is spent.
    Empty(Level),
}

impl Bucket {
    /// A bucket that holds so many thousandths.
    #[must_use]
    pub fn holding(now_ms: u64, millitokens: u64) -> Self {
        Self {
            millitokens: AtomicU64::new(millitokens),
            credited_ms: AtomicU64::new(now_ms),
        }
    }

    /// Takes `tokens`, or nothing when so many aren't there.
    pub fn take(&self, now_ms: u64, limits: Limits, tokens: u32) -> Taken {
        self.credit(now_ms, limits);
        let burst = u64::from(limits.burst) * MILLITOKENS;
        let wanted = u64::from(tokens) * MILLITOKENS;
        let spent = self
            .millitokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |level| {
                level.min(burst).checked_sub(wanted)
            });
        let level = |millitokens| Level { millitokens, limits };
        match spent {
            Ok(before) => Taken::Yes(level(before.min(burst) - wanted)),
            Err(left) => Taken::Empty(level(left.min(burst))),
        }
    }

    /// Puts back what a call took that was refused elsewhere or never reached an upstream.
    pub fn give_back(&self, limits: Limits, tokens: u32) {
        let (burst, returned) = (
            u64::from(limits.burst) * MILLITOKENS,
            u64::from(tokens) * MILLITOKENS,
        );
        self.update(|level| level.min(burst).saturating_add(returned).min(burst));
    }

    /// What is in the bucket now.
    pub fn level(&self, now_ms: u64, limits: Limits) -> Level {
        self.credit(now_ms, limits);
        let burst = u64::from(limits.burst) * MILLITOKENS;
        Level {
            millitokens: self.millitokens.load(Ordering::Relaxed).min(burst),
            limits,
        }
    }

    /// Whether it is full, as a fresh bucket is.
    #[must_use]
    pub fn is_full(&self, now_ms: u64, limits: Limits) -> bool {
        self.level(now_ms, limits).millitokens >= u64::from(limits.burst) * MILLITOKENS
    }

    /// Gives all but an eighth of what is in it away; nothing is added to it any more. Answers the thousandths that are given.
    pub fn give(&self, now_ms: u64, limits: Limits) -> u64 {
        self.credit(now_ms, limits);
        // Time has come so far that it never goes on.
        self.credited_ms.store(u64::MAX, Ordering::Relaxed);
        let burst = u64::from(limits.burst) * MILLITOKENS;
        let mut given = 0;
        self.update_with(|level| {
            let kept = level.min(burst) / 8;
            given = level.min(burst) - kept;
            kept
        });
        given
    }

    /// What [`Self::give`] gave is here again, and time goes on.
    pub fn take_back(&self, now_ms: u64, given: u64) {
        self.update(|level| level.saturating_add(given));
        self.credited_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Holds so many thousandths from now on.
    pub fn hold(&self, now_ms: u64, millitokens: u64) {
        self.credited_ms.store(now_ms, Ordering::Relaxed);
        self.millitokens.store(millitokens, Ordering::Relaxed);
    }

    /// Credits the time since the last credit. Of several threads that see the same moment one does it; the
    /// others may for an instant see the level without it, never a token too many.
    fn credit(&self, now_ms: u64, limits: Limits) {
        let credited = self.credited_ms.load(Ordering::Relaxed);
        if now_ms <= credited {
            return;
        }
        let won = self
            .credited_ms
            .compare_exchange(credited, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if won.is_ok() {
            let burst = u64::from(limits.burst) * MILLITOKENS;
            let gained = (now_ms - credited).saturating_mul(u64::from(limits.rate));
            self.update(|level| level.min(burst).saturating_add(gained).min(burst));
        }
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        self.update_with(change);
    }

    fn update_with(&self, mut change: impl FnMut(u64) -> u64) {
        let mut level = self.millitokens.load(Ordering::Relaxed);
        while let Err(seen) =
            self.millitokens
                .compare_exchange_weak(level, change(level), Ordering::Relaxed, Ordering::Relaxed)
        {
            level = seen;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROWTH: Limits = Limits {
        rate: 100,
        burst: 200,
    };

    fn taken(answer: Taken) -> bool {
        matches!(answer, Taken::Yes(_))
    }

    #[test]
    fn a_bucket_starts_full_and_holds_exactly_its_burst() {
        let bucket = Bucket::default();
        assert!((0..200).all(|_| taken(bucket.take(5, GROWTH, 1))));
        let Taken::Empty(level) = bucket.take(5, GROWTH, 1) else {
            panic!("a 201st token")
        };
        assert_eq!(level.remaining(), 0);
        assert_eq!(level.until_available(1), Duration::from_millis(10));
        assert_eq!(level.until_full(), Duration::from_secs(2));
    }

    #[test]
    fn one_millisecond_credits_exactly_the_rate_in_thousandths() {
        let bucket = Bucket::default();
        assert!((0..200).all(|_| taken(bucket.take(0, GROWTH, 1))));
        assert!(!taken(bucket.take(9, GROWTH, 1)));
        assert!(taken(bucket.take(10, GROWTH, 1)));
        assert_eq!(bucket.level(19, GROWTH).millitokens, 900);
    }

    #[test]
    fn a_lower_burst_holds_at_once_and_a_higher_one_gives_no_gift() {
        let bucket = Bucket::default();
        assert_eq!(bucket.level(0, GROWTH).remaining(), 200);
        let lower = Limits { rate: 10, burst: 20 };
        assert_eq!(bucket.level(1, lower).remaining(), 20);
        assert!(taken(bucket.take(1, lower, 20)));
        assert_eq!(bucket.level(1, GROWTH).remaining(), 0);
    }

    #[test]
    fn a_long_sleep_fills_the_bucket_and_no_more() {
        let bucket = Bucket::default();
        assert!(taken(bucket.take(0, GROWTH, 200)));
        assert_eq!(bucket.level(u64::MAX, GROWTH).remaining(), 200);
    }

    proptest! {
        /// The promise itself: never more than burst + rate × time, whatever the order of events, and exactly
        /// what a bucket of unbounded precision would give.
        #[test]
        fn a_bucket_never_overshoots_and_never_starves(
            rate in 1u32..2_000, burst in 1u32..4_000,
            steps in proptest::collection::vec((0u64..50, 1u32..5, any::<bool>()), 1..400),
        ) {
            let limits = Limits { rate, burst };
            let bucket = Bucket::default();
            let (mut now, mut model, mut spent) = (0u64, u128::from(burst) * 1_000, 0u128);
            for (pause, tokens, refund) in steps {
                now += pause;
                model = (model + u128::from(pause) * u128::from(rate)).min(u128::from(burst) * 1_000);
                let expected = model >= u128::from(tokens) * 1_000;
                prop_assert_eq!(taken(bucket.take(now, limits, tokens)), expected);
                if expected && refund {
                    bucket.give_back(limits, tokens);
                } else if expected {
                    model -= u128::from(tokens) * 1_000;
                    spent += u128::from(tokens) * 1_000;
                }
                prop_assert!(spent <= u128::from(burst) * 1_000 + u128::from(now) * u128::from(rate));
                prop_assert_eq!(u128::from(bucket.level(now, limits).millitokens), model);
            }
        }
    }

    #[test]
    fn two_threads_together_get_no_token_too_many() {
        let bucket = Bucket::default();
        let limits = Limits {
            rate: 1_000,
            burst: 50,
        };
        let total: u64 = std::thread::scope(|scope| {
            let spend = || {
                (1..=20_000u64)
                    .filter(|now| taken(bucket.take(*now / 4, limits, 1)))
                    .count() as u64
            };
            let threads = [scope.spawn(spend), scope.spawn(spend)];
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(total <= 50 + 5_000, "{total} tokens");
    }
}
