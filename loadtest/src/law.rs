//! What any observer can hold a token bucket to, however many gateways share it: in no stretch of time more calls
//! than burst + rate × time; and what a perfect bucket would have let pass.

use std::time::Duration;

/// A bucket's promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Law {
    /// Tokens a second.
    pub rate: u64,
    /// Tokens in a full bucket.
    pub burst: u64,
}

/// More calls than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The stretch began here.
    pub from: Duration,
    /// And ended here.
    pub until: Duration,
    /// Calls that certainly were accepted within it.
    pub accepted: u64,
    /// Calls that were allowed.
    pub allowed: u64,
}

impl Law {
    /// Whole tokens that can be spent in so much time.
    #[must_use]
    pub fn allowed(&self, time: Duration) -> u64 {
        let refilled = u128::from(self.rate) * time.as_micros() / 1_000_000;
        self.burst
            .saturating_add(u64::try_from(refilled).unwrap_or(u64::MAX))
    }

    /// The stretch of time that breaks the law by most, of all that begin when one of these calls was sent and
    /// end when one was answered. Each is given as (sent, ended). Wherever in between a call was let pass, it was
    /// within every stretch that holds both, so this is exact, and no delay on the way can break it.
    ///
    /// It takes time in proportion to the square of the number of calls.
    #[must_use]
    pub fn broken_by(&self, accepted: impl IntoIterator<Item = (Duration, Duration)>) -> Option<Broken> {
        let mut calls: Vec<_> = accepted.into_iter().collect();
        calls.sort_unstable_by_key(|(_, ended)| *ended);
        let mut begins: Vec<_> = calls.iter().map(|(sent, _)| *sent).collect();
        begins.sort_unstable();
        let mut worst: Option<Broken> = None;
        for from in begins {
            let within = calls.iter().filter(|(sent, _)| *sent >= from);
            for (accepted, (_, until)) in (1..).zip(within) {
                let allowed = self.allowed(until.saturating_sub(from));
                let excess = |broken: &Broken| broken.accepted - broken.allowed;
                if accepted > allowed
                    && worst
                        .as_ref()
                        .is_none_or(|worst| accepted - allowed > excess(worst))
                {
                    worst = Some(Broken {
                        from,
                        until: *until,
                        accepted,
                        allowed,
                    });
                }
            }
        }
        worst
    }

    /// How many of these calls a single bucket, full at first, would have let pass, without any delay.
    #[must_use]
    pub fn perfect(&self, arrivals: impl IntoIterator<Item = Duration>) -> u64 {
        let mut arrivals: Vec<_> = arrivals.into_iter().collect();
        arrivals.sort_unstable();
        // In millionths of a token, which are what comes in a microsecond at 1/s.
        let full = u128::from(self.burst) * 1_000_000;
        let (mut level, mut before, mut passed) = (full, arrivals.first().copied().unwrap_or_default(), 0);
        for now in arrivals {
            let refilled = u128::from(self.rate) * now.saturating_sub(before).as_micros();
            level = full.min(level + refilled);
            before = now;
            if let Some(left) = level.checked_sub(1_000_000) {
                level = left;
                passed += 1;
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAW: Law = Law {
        rate: 100,
        burst: 200,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// So many calls at a moment, each taking a millisecond.
    fn at(moment: u64, calls: usize) -> impl Iterator<Item = (Duration, Duration)> {
        std::iter::repeat_n((ms(moment), ms(moment + 1)), calls)
    }

    #[test]
    fn a_full_bucket_and_what_comes_after_it_are_allowed() {
        let steady = (1..100).flat_map(|step| at(step * 10, 1));
        assert_eq!(LAW.broken_by(at(0, 200).chain(steady)), None);
    }

    #[test]
    fn one_call_too_many_is_found_wherever_it_is() {
        // 100 tokens came in the second of rest, and one that didn't was spent.
        let calls = at(0, 200).chain(at(1_000, 101));
        let broken = LAW.broken_by(calls).unwrap();
        assert_eq!((broken.accepted, broken.allowed), (301, 300));
        // A bucket that is full again is no more than full.
        let calls = at(0, 1).chain(at(60_000, 201));
        let broken = LAW.broken_by(calls).unwrap();
        assert_eq!(
            (broken.from, broken.accepted, broken.allowed),
            (ms(60_000), 201, 200)
        );
    }

    #[test]
    fn a_call_that_took_long_may_have_been_let_pass_at_any_time_of_it() {
        let waiting = std::iter::repeat_n((ms(0), ms(5_000)), 200);
        assert_eq!(LAW.broken_by(waiting.chain(at(4_999, 200))), None);
    }

    #[test]
    fn a_perfect_bucket_loses_nothing_but_what_overflows() {
        let arrivals = |calls: Vec<(u64, usize)>| {
            let each = calls.into_iter().flat_map(|(moment, calls)| at(moment, calls));
            LAW.perfect(each.map(|(sent, _)| sent))
        };
        assert_eq!(arrivals(vec![(0, 300)]), 200);
        assert_eq!(arrivals(vec![(0, 300), (1_000, 300)]), 300);
        assert_eq!(arrivals(vec![(0, 300), (9_000, 300)]), 400);
        assert_eq!(arrivals(vec![(0, 10), (1_000, 300)]), 210);
        assert_eq!(arrivals(vec![]), 0);
    }
}
