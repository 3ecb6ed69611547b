//! Which machines of an upstream are healthy: what checks and calls have shown of them.
//!
//! One [`Standing`] a machine, shared by all workers and the control thread; [`Count`] says how many of an upstream are
//! out, so that as long as none is a call reads one number. A machine is out for two reasons, which don't know each other: its checks fail, or
//! calls on it failed so often in a row that it was *ejected*, for a time that doubles each time it happens again soon. All atomics,
//! no lock; nothing here fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use keyward_config::{ActiveChecks, PassiveChecks};

/// Its checks fail.
const CHECKED_OUT: u8 = 1;
/// Calls on it failed.
const EJECTED: u8 = 2;
/// Ejections that still lengthen the next one.
const MOST_REPEATS: u32 = 30;

/// How many machines of an upstream are out, and for which reason.
#[derive(Debug, Default)]
pub struct Count {
    out: AtomicU32,
    ejected: AtomicU32,
    tally: Arc<Tally>,
}

/// What has happened to an upstream's machines so far, under whichever configuration.
#[derive(Debug, Default)]
pub struct Tally {
    ejections: AtomicU64,
    checks: [AtomicU64; 2],
}

impl Tally {
    /// Times that a machine was ejected.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Checks that went well, and checks that did not.
    #[must_use]
    pub fn checks(&self) -> [u64; 2] {
        [0, 1].map(|way: usize| {
            self.checks
                .get(way)
                .map_or(0, |count| count.load(Ordering::Relaxed))
        })
    }
}

impl Count {
    /// Machines that are out.
    #[must_use]
    pub fn out(&self) -> u32 {
        self.out.load(Ordering::Relaxed)
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    pub(super) fn with_tally(tally: Arc<Tally>) -> Self {
        Self {
            tally,
            ..Self::default()
        }
    }

    /// Takes one of `most` places for machines that are ejected.
    fn reserve(&self, most: u32) -> bool {
        let taken = self
            .ejected
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            });
        taken.is_ok()
    }

    fn release(&self) {
        self.ejected.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How one machine stands. A new one is healthy until something shows that it is not.
#[derive(Debug, Default)]
pub struct Standing {
    /// Why it is out; 0: it is not.
    out: AtomicU8,
    /// Failed calls in a row.
    failures: AtomicU32,
    /// Ejections that lengthen the next one.
    repeats: AtomicU32,
    /// While ejected: until when, in milliseconds; afterwards: when the last repeat was forgotten.
    turns_at_ms: AtomicU64,
    /// Checks in a row that went the same way as the last.
    streak: AtomicU32,
    /// How the last check went: `PASSED` or `FAILED`, or 0 before the first.
    last_check: AtomicU8,
}

const PASSED: u8 = 1;
const FAILED: u8 = 2;

/// What a check or a call has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    None,
    /// It is out from now on.
    Out,
    /// It is back.
    Back,
}

impl Standing {
    /// Whether it gets calls, as far as it alone decides that.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    /// In one word, for `/debug/state`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.out.load(Ordering::Relaxed) {
            0 => "healthy",
            EJECTED => "ejected",
            CHECKED_OUT => "unhealthy",
            _ => "unhealthy, ejected",
        }
    }

    /// Failed calls in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// A call on it went well. As a rule that is one read.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A call on it failed; of `machines` there are in all.
    pub fn failed(&self, rules: &PassiveChecks, count: &Count, machines: usize, now_ms: u64) -> Turn {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < rules.failures || self.out.load(Ordering::Relaxed) & EJECTED != 0 {
            return Turn::None;
        }
        let most = u32::try_from(rules.max_ejected.of(machines as u64)).unwrap_or(u32::MAX);
        if !count.reserve(most) {
            return Turn::None;
        }
        let repeats = self.repeats.load(Ordering::Relaxed);
        let until = now_ms.saturating_add(millis(length(rules, repeats)));
        // Before it is out: whoever sees that it is, sees until when.
        self.turns_at_ms.fetch_max(until, Ordering::Release);
        let before = self.out.fetch_or(EJECTED, Ordering::AcqRel);
        if before & EJECTED != 0 {
            // Another worker was first.
            count.release();
            return Turn::None;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.repeats
            .store((repeats + 1).min(MOST_REPEATS), Ordering::Relaxed);
        count.tally.ejections.fetch_add(1, Ordering::Relaxed);
        if before != 0 {
            return Turn::None;
        }
        count.out.fetch_add(1, Ordering::AcqRel);
        Turn::Out
    }

    /// Brings it back when its ejection is over, and forgets an earlier one for each such time that it was well since.
    /// Called by one thread, every so often.
    pub fn pass_time(&self, rules: &PassiveChecks, count: &Count, now_ms: u64) -> Turn {
        let repeats = self.repeats.load(Ordering::Relaxed);
        if repeats == 0 && self.is_healthy() {
            return Turn::None;
        }
        let turns_at = self.turns_at_ms.load(Ordering::Acquire);
        if self.out.load(Ordering::Acquire) & EJECTED == 0 {
            let well_until = turns_at.saturating_add(millis(length(rules, repeats.saturating_sub(1))));
            if repeats > 0 && now_ms >= well_until {
                self.repeats.store(repeats - 1, Ordering::Relaxed);
                self.turns_at_ms.store(now_ms, Ordering::Release);
            }
            return Turn::None;
        }
        if now_ms < turns_at {
            return Turn::None;
        }
        self.failures.store(0, Ordering::Relaxed);
        let turn = self.lift(EJECTED, count);
        count.release();
        turn
    }

    /// A check went this way. Called by one thread.
    pub fn checked(&self, is_good: bool, rules: &ActiveChecks, count: &Count) -> Turn {
        let way = if is_good { PASSED } else { FAILED };
        if let Some(tally) = count.tally.checks.get(usize::from(!is_good)) {
            tally.fetch_add(1, Ordering::Relaxed);
        }
        let streak = if self.last_check.swap(way, Ordering::Relaxed) == way {
            self.streak.load(Ordering::Relaxed).saturating_add(1)
        } else {
            1
        };
        self.streak.store(streak, Ordering::Relaxed);
        if is_good && streak >= rules.healthy {
            return self.lift(CHECKED_OUT, count);
        }
        if is_good || streak < rules.unhealthy {
            return Turn::None;
        }
        let before = self.out.fetch_or(CHECKED_OUT, Ordering::AcqRel);
        if before != 0 {
            return Turn::None;
        }
        count.out.fetch_add(1, Ordering::AcqRel);
        Turn::Out
    }

    fn lift(&self, reason: u8, count: &Count) -> Turn {
        let before = self.out.fetch_and(!reason, Ordering::AcqRel);
        if before != reason {
            return Turn::None;
        }
        count.out.fetch_sub(1, Ordering::AcqRel);
        Turn::Back
    }

    /// Takes over how an earlier configuration's machine stood, as far as this one has such checks.
    pub(super) fn inherit(
        &self,
        earlier: &Self,
        active: Option<&ActiveChecks>,
        passive: Option<(&PassiveChecks, usize)>,
        count: &Count,
    ) {
        let was_out = earlier.out.load(Ordering::Acquire);
        let mut out = 0;
        if active.is_some() {
            out |= was_out & CHECKED_OUT;
            copy_u8(&earlier.last_check, &self.last_check);
            copy_u32(&earlier.streak, &self.streak);
        }
        if let Some((rules, machines)) = passive {
            copy_u32(&earlier.failures, &self.failures);
            copy_u32(&earlier.repeats, &self.repeats);
            self.turns_at_ms
                .store(earlier.turns_at_ms.load(Ordering::Acquire), Ordering::Release);
            let most = u32::try_from(rules.max_ejected.of(machines as u64)).unwrap_or(u32::MAX);
            if was_out & EJECTED != 0 && count.reserve(most) {
                out |= EJECTED;
            }
        }
        self.out.store(out, Ordering::Release);
        count.out.fetch_add(u32::from(out != 0), Ordering::AcqRel);
    }
}

fn copy_u8(from: &AtomicU8, to: &AtomicU8) {
    to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
}

fn copy_u32(from: &AtomicU32, to: &AtomicU32) {
    to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// How long an ejection lasts after so many earlier ones.
fn length(rules: &PassiveChecks, repeats: u32) -> Duration {
    let times = 1_u32.checked_shl(repeats.min(MOST_REPEATS)).unwrap_or(u32::MAX);
    rules.ejection.saturating_mul(times).min(rules.max_ejection)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
