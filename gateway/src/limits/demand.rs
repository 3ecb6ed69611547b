//! How much will be wanted: recent demand, forgotten exponentially. Pure arithmetic; the time is an argument.

/// Demand of so long ago counts for a third.
const MEMORY_MS: f64 = 300.0;

/// A rate of spending, in units a millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    per_ms: f64,
    at_ms: u64,
}

impl Demand {
    /// So many units were wanted since the last note. The first note says nothing about a rate.
    pub fn note(&mut self, now_ms: u64, units: u64) {
        let elapsed = now_ms.saturating_sub(self.at_ms).max(1) as f64;
        let kept = (-elapsed / MEMORY_MS).exp();
        self.per_ms = self.per_ms * kept + units as f64 / elapsed * (1.0 - kept);
        self.at_ms = now_ms;
    }

    /// How many units will be wanted in the next `horizon_ms`, if nothing changes.
    #[must_use]
    pub fn expected(&self, horizon_ms: u64) -> u64 {
        // A float that is too great, or none at all, becomes the nearest number there is.
        (self.per_ms * horizon_ms as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_learnt_and_forgotten() {
        let mut demand = Demand::default();
        demand.note(1_000_000, 1_000);
        assert_eq!(demand.expected(250), 0, "one call is no rate");
        for tick in 1..=20 {
            demand.note(1_000_000 + tick * 100, 10_000);
        }
        // 100 tokens a second.
        let expected = demand.expected(1_000);
        assert!((95_000..=100_000).contains(&expected), "{expected}");
        demand.note(1_005_000, 0);
        assert!(demand.expected(1_000) < 1_000);
    }

    #[test]
    fn a_clock_that_stands_still_makes_no_infinity() {
        let mut demand = Demand::default();
        demand.note(5, u64::MAX);
        demand.note(5, u64::MAX);
        demand.note(4, 1);
        let _ = demand.expected(u64::MAX);
    }
}
