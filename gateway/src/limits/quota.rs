//! The yearly quota of one account, counted in this process.
//!
//! Spent = what the control plane last said that all others counted + what this gateway counted itself since
//! it started; the control plane leaves this gateway's own present count out, so nothing is counted twice
//! however late a message comes. Charging costs two atomic operations.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use keyward_contract::{QuotaPeriod, UnixMillis};
use parking_lot::Mutex;

/// How much of its annual limit an account has used in its present period.
#[derive(Debug, Default)]
pub struct Quota {
    /// The present period; `end` is 0 before the first charge.
    start_ms: AtomicI64,
    end_ms: AtomicI64,
    elsewhere: AtomicU64,
    own: AtomicU64,
    turning: Mutex<()>,
}

/// A quota at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLevel {
    /// Validations of the period, grants included.
    pub limit: u64,
    /// Validations used.
    pub used: u64,
    /// When the next period starts.
    pub resets_at: UnixMillis,
}

impl QuotaLevel {
    /// What is left; never negative.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

impl Quota {
    /// Counts one validation if the quota has room; `Err` when it is used up.
    ///
    /// # Errors
    /// The level that left no room.
    pub fn charge(
        &self,
        now: UnixMillis,
        contract_start: Option<UnixMillis>,
        annual_limit: u64,
    ) -> Result<(), QuotaLevel> {
        self.turn(now, contract_start);
        let limit = annual_limit;
        let elsewhere = self.elsewhere.load(Ordering::Relaxed);
        let room = limit.saturating_sub(elsewhere);
        let charged = self
            .own
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |own| {
                (own < room).then_some(own.saturating_add(1))
            });
        charged.map(|_| ()).map_err(|own| QuotaLevel {
            limit,
            used: elsewhere.saturating_add(own),
            resets_at: UnixMillis(self.end_ms.load(Ordering::Relaxed)),
        })
    }

    /// Takes back one validation that was not forwarded.
    pub fn give_back(&self) {
        let _ = self
            .own
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |own| own.checked_sub(1));
    }

    /// How it stands.
    pub fn level(
        &self,
        now: UnixMillis,
        contract_start: Option<UnixMillis>,
        annual_limit: u64,
    ) -> QuotaLevel {
        self.turn(now, contract_start);
        QuotaLevel {
            limit: annual_limit,
            used: self
                .elsewhere
                .load(Ordering::Relaxed)
                .saturating_add(self.own.load(Ordering::Relaxed)),
            resets_at: UnixMillis(self.end_ms.load(Ordering::Relaxed)),
        }
    }

    /// Takes over what the control plane says was used elsewhere in the period that starts at `period_start`.
    /// A message of another period is of no use: an old one is late, a newer one will come again.
    pub fn hear(&self, period_start: UnixMillis, used_elsewhere: u64) {
        let _turning = self.turning.lock();
        if self.start_ms.load(Ordering::Relaxed) == period_start.0 {
            self.elsewhere.store(used_elsewhere, Ordering::Relaxed);
        }
    }

    /// Whether this gateway has counted nothing in it.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.own.load(Ordering::Relaxed) == 0
    }

    /// Makes sure that the present period is the one that `now` lies in.
    pub fn turn(&self, now: UnixMillis, contract_start: Option<UnixMillis>) {
        let (start, end) = (
            self.start_ms.load(Ordering::Relaxed),
            self.end_ms.load(Ordering::Relaxed),
        );
        if start <= now.0 && now.0 < end {
            return;
        }
        let _turning = self.turning.lock();
        let period = QuotaPeriod::at(now, contract_start);
        let start = self.start_ms.load(Ordering::Relaxed);
        // A wall clock that was set back must not clear what the later period has counted.
        if self.end_ms.load(Ordering::Relaxed) == 0 || period.start.0 > start {
            self.start_ms.store(period.start.0, Ordering::Relaxed);
            self.own.store(0, Ordering::Relaxed);
            self.elsewhere.store(0, Ordering::Relaxed);
            self.end_ms.store(period.end.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_800_000_000);

    fn start_of_year() -> UnixMillis {
        QuotaPeriod::at(NOW, None).start
    }

    #[test]
    fn exactly_the_limit_is_charged() {
        let quota = Quota::default();
        assert!((0..10).all(|_| quota.charge(NOW, None, 10).is_ok()));
        let level = quota.charge(NOW, None, 10).unwrap_err();
        assert_eq!((level.limit, level.used, level.remaining()), (10, 10, 0));
        quota.give_back();
        assert!(quota.charge(NOW, None, 10).is_ok());
        assert!(quota.charge(NOW, None, 10).is_err());
    }

    #[test]
    fn what_others_used_counts_and_a_grant_gives_exactly_its_number() {
        let quota = Quota::default();
        quota.turn(NOW, None);
        quota.hear(start_of_year(), 7);
        assert!((0..3).all(|_| quota.charge(NOW, None, 10).is_ok()));
        assert!(quota.charge(NOW, None, 10).is_err());
        assert_eq!((0..5).filter(|_| quota.charge(NOW, None, 12).is_ok()).count(), 2);
    }

    #[test]
    fn a_new_period_starts_from_nothing_and_a_clock_set_back_clears_nothing() {
        let quota = Quota::default();
        assert!(quota.charge(NOW, None, 1).is_ok());
        let next_year = QuotaPeriod::at(NOW, None).end;
        assert!(quota.charge(next_year, None, 1).is_ok());
        assert!(quota.charge(next_year, None, 1).is_err());
        assert!(quota.charge(NOW, None, 1).is_err());
    }

    #[test]
    fn a_message_of_another_period_changes_nothing() {
        let quota = Quota::default();
        quota.turn(NOW, None);
        quota.hear(UnixMillis(0), 10);
        assert_eq!(quota.level(NOW, None, 10).used, 0);
    }
}
