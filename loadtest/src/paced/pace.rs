//! When calls are due: phases that repeat, each with a steady rate of its own.

use std::time::Duration;

/// A stretch of time with so many calls, evenly spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// How long it is.
    pub lasts: Duration,
    /// How many calls it has.
    pub calls: u32,
}

/// Phases that follow each other again and again.
#[derive(Clone, Debug)]
pub struct Pace {
    phases: Vec<Phase>,
    cycle: Duration,
    calls: u64,
}

impl Pace {
    /// These phases, again and again.
    #[must_use]
    pub fn of(phases: Vec<Phase>) -> Self {
        Self {
            cycle: phases.iter().map(|phase| phase.lasts).sum(),
            calls: phases.iter().map(|phase| u64::from(phase.calls)).sum(),
            phases,
        }
    }

    /// So many calls in every second.
    #[must_use]
    pub fn steady(calls: u32) -> Self {
        let lasts = Duration::from_secs(1);
        Self::of(vec![Phase { lasts, calls }])
    }

    /// So many calls within `on`, then none for `off`.
    #[must_use]
    pub fn bursts(calls: u32, on: Duration, off: Duration) -> Self {
        let (burst, pause) = (Phase { lasts: on, calls }, Phase { lasts: off, calls: 0 });
        Self::of(vec![burst, pause])
    }

    /// When the call of this number is due; `None`: never.
    pub(super) fn due(&self, number: u64) -> Option<Duration> {
        let cycles = u32::try_from(number.checked_div(self.calls)?).ok()?;
        let mut left = u32::try_from(number % self.calls).ok()?;
        let mut begin = self.cycle.checked_mul(cycles)?;
        for phase in &self.phases {
            if left < phase.calls {
                return Some(begin + phase.lasts.mul_f64(f64::from(left) / f64::from(phase.calls)));
            }
            left -= phase.calls;
            begin += phase.lasts;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pace: &Pace, expected_ms: &[u64]) {
        let due: Vec<_> = (0..expected_ms.len() as u64)
            .map(|number| pace.due(number).unwrap().as_millis())
            .collect();
        let expected: Vec<_> = expected_ms.iter().map(|ms| u128::from(*ms)).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn calls_are_evenly_spread_over_their_phase_and_phases_repeat() {
        check(&Pace::steady(4), &[0, 250, 500, 750, 1000, 1250]);
        let ms = Duration::from_millis;
        check(&Pace::bursts(2, ms(100), ms(400)), &[0, 50, 500, 550, 1000]);
    }

    #[test]
    fn a_pace_without_calls_never_has_one() {
        assert_eq!(Pace::steady(0).due(0), None);
        assert_eq!(Pace::of(Vec::new()).due(7), None);
    }
}
