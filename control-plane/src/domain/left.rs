//! What is left in a bucket that gateways share, as it is shown. Tokens are counted in thousandths; whole ones are
//! shown.

use keyward_contract::{Limits, UnixMillis};

const TOKEN: u64 = 1_000;

/// What is in a bucket at an instant, in thousandths of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    limits: Limits,
    millitokens: u64,
    at: UnixMillis,
}

impl Left {
    /// A bucket from which nothing was taken lately.
    #[must_use]
    pub fn full(limits: Limits, now: UnixMillis) -> Self {
        Self {
            limits,
            millitokens: u64::from(limits.burst) * TOKEN,
            at: now,
        }
    }

    /// A bucket in which so much is, and of which gateways hold so much: both may still be spent. It may owe.
    #[must_use]
    pub fn shared(limits: Limits, (level, held): (i64, u64), now: UnixMillis) -> Self {
        let full = Self::full(limits, now);
        let left = i128::from(level) + i128::from(held);
        let left = left.clamp(0, i128::from(full.millitokens));
        Self {
            millitokens: u64::try_from(left).unwrap_or_default(),
            ..full
        }
    }

    /// A bucket as it must stand now if nothing was taken since a gateway saw so much in it.
    #[must_use]
    pub fn since_seen(limits: Limits, (millitokens, at): (u64, UnixMillis), now: UnixMillis) -> Self {
        let full = Self::full(limits, now);
        // A token a second is a thousandth of one a millisecond.
        let elapsed = u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0);
        let gained = elapsed.saturating_mul(u64::from(limits.rate));
        Self {
            millitokens: millitokens.saturating_add(gained).min(full.millitokens),
            ..full
        }
    }

    /// Its rate and burst.
    #[must_use]
    pub fn limits(self) -> Limits {
        self.limits
    }

    /// Whole tokens left.
    #[must_use]
    pub fn remaining(self) -> u64 {
        self.millitokens / TOKEN
    }

    /// When all of them are there again, in whole seconds since 1970.
    #[must_use]
    pub fn reset(self) -> i64 {
        let capacity = u64::from(self.limits.burst) * TOKEN;
        let missing = capacity.saturating_sub(self.millitokens);
        let full_in_ms = missing.div_ceil(u64::from(self.limits.rate.max(1)));
        let full_in_ms = i64::try_from(full_in_ms).unwrap_or(i64::MAX);
        let full_at_ms = self.at.0.saturating_add(full_in_ms);
        full_at_ms.saturating_add(999).div_euclid(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        rate: 100,
        burst: 200,
    };
    const NOW: UnixMillis = UnixMillis(10_000);

    #[track_caller]
    fn check(left: Left, remaining: u64, reset: i64) {
        assert_eq!((left.remaining(), left.reset()), (remaining, reset));
    }

    #[test]
    fn a_bucket_is_shown_as_it_must_stand_now() {
        let seen = |millitokens, at| Left::since_seen(LIMITS, (millitokens, UnixMillis(at)), NOW);
        check(Left::full(LIMITS, NOW), 200, 10);
        check(seen(0, 10_000), 0, 12);
        check(seen(0, 9_000), 100, 11);
        check(seen(150_500, 10_000), 150, 11);
        check(seen(0, 1_000), 200, 10);
        // A gateway's clock ahead of ours fills nothing; a level above a lowered burst is the burst.
        check(seen(5_000, 60_000), 5, 12);
        check(seen(900_000, 10_000), 200, 10);
    }

    #[test]
    fn what_gateways_hold_is_left_too() {
        let shared = |level, held| Left::shared(LIMITS, (level, held), NOW);
        check(shared(200_000, 0), 200, 10);
        check(shared(120_500, 30_400), 150, 11);
        check(shared(0, 999), 0, 12);
        // It owes: nothing is left, whatever gateways hold.
        check(shared(-50_000, 20_000), 0, 12);
        check(shared(-50_000, 60_000), 10, 12);
        // A burst that was lowered.
        check(shared(500_000, 100_000), 200, 10);
        check(shared(i64::MIN, 0), 0, 12);
        check(shared(i64::MAX, u64::MAX), 200, 10);
    }
}
