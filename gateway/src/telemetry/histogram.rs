//! Durations in log-spaced buckets from 10 µs to 60 s.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::counts::Sum;

/// The upper bounds of the buckets, in nanoseconds and as Prometheus' `le`; one more bucket has no bound.
pub(super) const BOUNDS: [(u64, &str); 21] = [
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (30_000_000_000, "30"),
    (60_000_000_000, "60"),
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram that one thread writes and any reads. Recording is a search over 21 numbers and two plain adds.
#[derive(Debug, Default)]
pub(super) struct WorkerHistogram {
    buckets: [Sum; BUCKETS],
    nanoseconds: Sum,
}

impl WorkerHistogram {
    pub(super) fn record(&self, duration: Duration) {
        let nanoseconds = nanoseconds(duration);
        if let Some(bucket) = self.buckets.get(bucket(nanoseconds)) {
            bucket.add(1);
        }
        self.nanoseconds.add(nanoseconds);
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            buckets: array::from_fn(|at| self.buckets.get(at).map_or(0, Sum::value)),
            nanoseconds: self.nanoseconds.value(),
        }
    }
}

/// A histogram that any thread may write: for what happens rarely. Two atomic adds.
#[derive(Debug, Default)]
pub struct SharedHistogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

impl SharedHistogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let nanoseconds = nanoseconds(duration);
        if let Some(bucket) = self.buckets.get(bucket(nanoseconds)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What it holds at this moment.
    #[must_use]
    pub fn reading(&self) -> Reading {
        Reading {
            buckets: array::from_fn(|at| {
                self.buckets
                    .get(at)
                    .map_or(0, |count| count.load(Ordering::Relaxed))
            }),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The first bucket whose bound is not below the value.
fn bucket(nanoseconds: u64) -> usize {
    BOUNDS.partition_point(|&(bound, _)| bound < nanoseconds)
}

/// What a histogram held when it was read. The count is the buckets' sum, so the two can't disagree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Reading {
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(other.nanoseconds);
    }

    /// The number of values at or below each bound, then of all, with the bounds' names.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let bounds = BOUNDS.iter().map(|&(_, le)| le).chain(["+Inf"]);
        bounds.zip(&self.buckets).scan(0_u64, |total, (le, count)| {
            *total = total.wrapping_add(*count);
            Some((le, *total))
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |total, count| total.wrapping_add(*count))
    }

    pub(super) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanoseconds).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bound_lies_in_its_own_bucket() {
        for (at, (bound, _)) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket(bound), at);
            assert_eq!(bucket(bound + 1), at + 1);
        }
        assert_eq!(bucket(0), 0);
    }

    #[test]
    fn the_names_of_the_bounds_are_their_seconds() {
        for (bound, le) in BOUNDS {
            let seconds: f64 = le.parse().unwrap();
            assert_eq!(
                Duration::from_nanos(bound),
                Duration::from_secs_f64(seconds),
                "{le}"
            );
        }
    }

    proptest! {
        #[test]
        fn both_kinds_count_and_sum_what_was_recorded(values in prop::collection::vec(0..100_000_000_000_u64, 0..40)) {
            let (worker, shared) = (WorkerHistogram::default(), SharedHistogram::default());
            for &value in &values {
                worker.record(Duration::from_nanos(value));
                shared.record(Duration::from_nanos(value));
            }
            let reading = worker.reading();
            prop_assert_eq!(&reading, &shared.reading());
            prop_assert_eq!(reading.count(), values.len() as u64);
            prop_assert_eq!(reading.nanoseconds, values.iter().sum::<u64>());
            for ((_, counted), (bound, _)) in reading.cumulative().zip(BOUNDS) {
                prop_assert_eq!(counted, values.iter().filter(|&&value| value <= bound).count() as u64);
            }
            prop_assert_eq!(reading.cumulative().last(), Some(("+Inf", values.len() as u64)));
        }
    }
}
