//! Tokens that this gateway took from a shared bucket before it spends them, and what it knows of the rest.
//!
//! A call spends by one atomic operation. Everything else (how much to ask for, what an answer brings) happens on
//! the limiter's thread. Leased tokens end a second after the question that brought or renewed them was sent: the
//! shared bucket forgets them no earlier, so none is ever spent twice. Amounts are thousandths of a token, instants
//! the gateway's monotonic milliseconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyward_buckets::BucketName;
use keyward_contract::Limits;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bucket::{Bucket, Level, Taken};
use super::demand::Demand;

mod question;
mod seen;
mod share;

use seen::Seen;
use share::Share;
pub use share::{Outage, Stake};

/// A lease lasts so long, counted from before its question was sent.
pub const LEASE_MS: u64 = 1_000;
/// A call may have read the clock so long ago.
const MARGIN_MS: u64 = 50;
/// So much of the expected demand is held.
const HORIZON_MS: u64 = 250;
/// So little is not handed back while calls come.
const FEW: u64 = 5 * TOKEN;
const TOKEN: u64 = 1_000;

/// This gateway's part of one shared bucket.
#[derive(Debug)]
pub struct Lease {
    name: BucketName,
    tokens: AtomicU64,
    until_ms: AtomicU64,
    /// With fewer left, more is asked for.
    low: AtomicU64,
    is_queued: AtomicBool,
    /// What calls wanted and did not get since the last question; of one call the most.
    unmet: AtomicU64,
    need: AtomicU64,
    /// What calls wanted since then that nobody has.
    refused: AtomicU64,
    /// Spent while the bucket could not be reached, and not yet told.
    debt: AtomicU64,
    limits: AtomicU64,
    seen: Seen,
    share: Mutex<Share>,
    book: Mutex<Book>,
    answered: Notify,
}

/// The limiter's own part.
#[derive(Debug, Default)]
struct Book {
    demand: Demand,
    /// What was held after the last question or answer.
    before: u64,
    /// When it was last spent from.
    spent_at_ms: u64,
    asked_at_ms: u64,
    is_listed: bool,
    /// The connection that the last answer came over.
    connection: u32,
}

/// What a lease asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// What its demand calls for.
    Use,
    /// Nothing: it hands back all it has.
    Leave,
}

impl Lease {
    /// Of this bucket, holding nothing.
    #[must_use]
    pub fn new(name: BucketName) -> Self {
        Self {
            name,
            tokens: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            low: AtomicU64::new(0),
            is_queued: AtomicBool::new(false),
            unmet: AtomicU64::new(0),
            need: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            debt: AtomicU64::new(0),
            limits: AtomicU64::new(0),
            seen: Seen::default(),
            share: Mutex::default(),
            book: Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Wakes the calls that wait for it.
    #[must_use]
    pub fn answered(&self) -> &Notify {
        &self.answered
    }

    /// Which bucket it is of.
    #[must_use]
    pub fn name(&self) -> BucketName {
        self.name
    }

    /// Spends leased tokens, or nothing when so many aren't there. One atomic operation.
    pub fn take(&self, now_ms: u64, limits: Limits, wanted: u64) -> Option<Spent> {
        if now_ms >= self.until_ms.load(Ordering::Acquire) {
            return None;
        }
        let most = capacity(limits);
        let taken = self
            .tokens
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |left| {
                left.min(most).checked_sub(wanted)
            });
        let left = taken.ok()?.min(most) - wanted;
        Some(Spent {
            runs_low: left < self.low.load(Ordering::Relaxed),
        })
    }

    /// Puts back what a call took that was refused elsewhere or never reached an upstream.
    pub fn give_back(&self, tokens: u64) {
        // Should the lease have ended, they are void with the rest of it.
        self.tokens.fetch_add(tokens, Ordering::AcqRel);
    }

    /// Whether so much can be spent now.
    #[must_use]
    pub fn has(&self, now_ms: u64, wanted: u64) -> bool {
        self.usable(now_ms) >= wanted
    }

    fn usable(&self, now_ms: u64) -> u64 {
        if now_ms < self.until_ms.load(Ordering::Acquire) {
            self.tokens.load(Ordering::Acquire)
        } else {
            0
        }
    }

    /// A call wants so much and it isn't here. `true` when the shared bucket may have it.
    pub fn want(&self, now_ms: u64, limits: Limits, wanted: u64) -> bool {
        self.limits.store(packed(limits), Ordering::Relaxed);
        let there = self.seen.read().level(now_ms, limits).max(0).unsigned_abs();
        if there.saturating_add(self.usable(now_ms)) < wanted {
            // It counts as demand; but a token for it would come too late, and be missed elsewhere.
            self.refused.fetch_add(wanted, Ordering::Relaxed);
            return false;
        }
        self.unmet.fetch_add(wanted, Ordering::Relaxed);
        self.need.fetch_max(wanted, Ordering::Relaxed);
        true
    }

    /// Puts it on the list of what is to be asked; `false` when it is there.
    pub fn enlist(&self, limits: Limits) -> bool {
        self.limits.store(packed(limits), Ordering::Relaxed);
        !self.is_queued.load(Ordering::Relaxed) && !self.is_queued.swap(true, Ordering::AcqRel)
    }

    /// [`Self::enlist`], for whoever knows no newer limits.
    pub(super) fn enlist_again(&self) -> bool {
        !self.is_queued.load(Ordering::Relaxed) && !self.is_queued.swap(true, Ordering::AcqRel)
    }

    /// Whether its demand is too low to hold tokens ahead of need.
    pub(super) fn holds_nothing_ahead(&self) -> bool {
        self.low.load(Ordering::Relaxed) == 0
    }

    /// Whether a call wanted more than was at hand since the last question.
    pub(super) fn is_wanted(&self) -> bool {
        self.unmet.load(Ordering::Relaxed) > 0
    }

    /// What is left for callers as far as is known: here and in the shared bucket.
    #[must_use]
    pub fn level(&self, now_ms: u64, limits: Limits) -> Level {
        let there = self.seen.read().level(now_ms, limits);
        let here = i64::try_from(self.usable(now_ms)).unwrap_or(i64::MAX);
        let debt = i64::try_from(self.debt.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let level = there.saturating_add(here).saturating_sub(debt);
        Level {
            millitokens: level.max(0).unsigned_abs().min(capacity(limits)),
            limits,
        }
    }

    /// Spends from the bucket that stands in for the shared one: of this gateway's share of rate and burst. It begins
    /// with this gateway's share of what the shared one was last known to hold.
    pub fn take_share(&self, now_ms: u64, limits: Limits, wanted: u64, outage: Outage) -> Option<Stake> {
        let stake = Stake::new(wanted, limits, outage.sharers);
        let mut share = self.share.lock();
        if share.outage != outage.number {
            let level = self.seen.read().level(now_ms, limits);
            let owed = i64::try_from(self.debt.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            share.bucket = Bucket::holding(now_ms, level.saturating_sub(owed).max(0).unsigned_abs());
            share.outage = outage.number;
            share.began_ms = now_ms;
        }
        match share.bucket.take(now_ms, stake.limits, stake.tokens) {
            Taken::Yes(_) => {
                share.is_open = true;
                self.owe(wanted);
                Some(stake)
            }
            Taken::Empty(_) => None,
        }
    }

    /// How its share stands, in whole shares of this gateway.
    #[must_use]
    pub fn share_level(&self, now_ms: u64, limits: Limits, outage: Outage) -> Level {
        let share = self.share.lock();
        let level = if share.outage == outage.number {
            share.bucket.level(now_ms, limits).millitokens
        } else {
            self.level(now_ms, limits).millitokens
        };
        let sharers = outage.sharers.max(1);
        Level {
            millitokens: level / u64::from(sharers) + self.usable(now_ms),
            limits: Limits {
                rate: (limits.rate / sharers).max(1),
                burst: limits.burst,
            },
        }
    }

    /// Gives back what a share gave.
    pub fn give_back_share(&self, stake: Stake, wanted: u64) {
        self.share.lock().bucket.give_back(stake.limits, stake.tokens);
        self.owe_less(wanted);
    }

    /// A call that owed so much never reached an upstream.
    pub fn owe_less(&self, tokens: u64) {
        let _ = self
            .debt
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| {
                Some(debt.saturating_sub(tokens))
            });
    }

    /// Something was spent that the shared bucket did not give.
    pub fn owe(&self, tokens: u64) {
        self.debt.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Whether it owes the shared bucket anything.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.debt.load(Ordering::Relaxed) > 0
    }

    /// Whether it says nothing that a fresh one would not say.
    #[must_use]
    pub fn is_idle(&self, now_ms: u64) -> bool {
        let limits = unpacked(self.limits.load(Ordering::Relaxed));
        self.usable(now_ms) == 0
            && !self.owes()
            && !self.is_queued.load(Ordering::Relaxed)
            && self.seen.read().level(now_ms, limits) >= capacity(limits) as i64
    }
}

/// What became of the lease when a call spent from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whether more should be asked for.
    pub runs_low: bool,
}

/// What the limiter should do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// Nothing yet.
    Wait,
    /// Ask, before it ends.
    Renew,
    /// Hand it back: nobody uses it.
    Leave,
}

fn capacity(limits: Limits) -> u64 {
    u64::from(limits.burst) * TOKEN
}

fn packed(limits: Limits) -> u64 {
    u64::from(limits.rate) << 32 | u64::from(limits.burst)
}

fn unpacked(word: u64) -> Limits {
    Limits {
        rate: ((word >> 32) as u32).max(1),
        burst: (word as u32).max(1),
    }
}

#[cfg(test)]
mod tests;
