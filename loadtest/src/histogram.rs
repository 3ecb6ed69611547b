//! How long calls took: 32 buckets for each power of two of nanoseconds, so every answer is true to 3 %.
//!
//! Recording is one addition; the whole takes 16 KiB.

use std::time::Duration;

const STEPS: u64 = 32;
const BUCKETS: usize = (64 * STEPS) as usize;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Adds one.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanoseconds)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(count, more)| *count += more);
        self.total += other.total;
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The duration that this share of all, 0.0 to 1.0, doesn't exceed; zero when there are none.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count, to whole ones"
    )]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share.clamp(0.0, 1.0) * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Duration::from_nanos(upper_end(index));
            }
        }
        Duration::ZERO
    }
}

fn bucket(nanoseconds: u64) -> usize {
    // Numbers of up to six bits are their own bucket; of longer ones the first six bits choose it.
    let shift = (u64::BITS - nanoseconds.leading_zeros()).saturating_sub(6);
    let index = u64::from(shift) * STEPS + (nanoseconds >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let step = index - shift * STEPS;
    (step << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_is_given_back_to_three_percent(nanoseconds in 0u64..1_000_000_000_000) {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanoseconds));
            let back = u64::try_from(histogram.quantile(0.5).as_nanos()).unwrap();
            prop_assert!(back >= nanoseconds && back - nanoseconds <= nanoseconds / 32, "{back}");
        }

        #[test]
        fn the_parts_make_the_whole(values in proptest::collection::vec(0u64..1_000_000, 2..50), cut in 0usize..50) {
            let record = |values: &[u64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.record(Duration::from_nanos(*value)));
                histogram
            };
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = record(left);
            merged.merge(&record(right));
            let whole = record(&values);
            prop_assert_eq!(merged.len(), whole.len());
            for share in [0.0, 0.1, 0.5, 0.99, 1.0] {
                prop_assert_eq!(merged.quantile(share), whole.quantile(share));
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        (1..=20).for_each(|value| histogram.record(Duration::from_nanos(value)));
        for (share, expected) in [(0.0, 1), (0.05, 1), (0.5, 10), (0.95, 19), (1.0, 20)] {
            assert_eq!(
                histogram.quantile(share),
                Duration::from_nanos(expected),
                "{share}"
            );
        }
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
