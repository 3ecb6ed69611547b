//! One bucket: script/bucket.lua, in Rust.

use keyward_contract::Limits;

use super::{ByGateway, LEASE_MS, MARGIN_MS, Moment};
use crate::ask::{Charged, LeaseAsk};
use crate::{BucketState, number};

/// What stands in a bucket's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Thousandths in it; below zero, it owes.
    pub(crate) level: i64,
    /// When it was last credited, in milliseconds.
    pub(crate) last: i64,
    /// When it began, in microseconds.
    pub(crate) born: i64,
    /// Thousandths that gateways hold.
    pub(crate) held: i64,
    /// When some holding may have ended.
    pub(crate) sweep: i64,
    /// How much each gateway holds, and until when.
    pub(crate) holders: ByGateway<(i64, i64)>,
    /// How long its name was to be kept when that was said last, and until when that is: then it is certainly full.
    pub(crate) kept: i64,
    pub(crate) expires: i64,
}

impl Bucket {
    fn credited(&self, now: i64, limits: Limits) -> i64 {
        let elapsed = now.saturating_sub(self.last).max(0);
        let gain = elapsed.saturating_mul(number::rate(limits));
        within(self.level.saturating_add(gain), self.held, limits)
    }

    pub(super) fn refund(&mut self, now: i64, limits: Limits, amount: i64) {
        let level = self.credited(now, limits) + amount;
        self.level = level.min(number::burst(limits) - self.held);
        self.last = now;
    }

    pub(super) fn read(&self, now: i64, limits: Limits) -> BucketState {
        let held = self.holders.values().filter(|(_, ends)| *ends > now);
        BucketState {
            level: self.credited(now, limits),
            held: held.map(|(amount, _)| amount).sum::<i64>().unsigned_abs(),
        }
    }

    pub(super) fn charged(&self) -> Charged {
        Charged {
            level: self.level,
            held: self.held.unsigned_abs(),
            born: self.born.unsigned_abs(),
        }
    }

    /// Lets go of what other gateways held too long.
    fn sweep(&mut self, moment: Moment, own: i64) {
        let Moment { now, gateway, .. } = moment;
        self.holders
            .retain(|holder, (_, ends)| holder == gateway || *ends > now);
        (self.held, self.sweep) = (own, now + LEASE_MS);
        for (holder, (amount, ends)) in &mut self.holders {
            if holder != gateway {
                *ends = (*ends).min(now + LEASE_MS);
                self.held += *amount;
                self.sweep = self.sweep.min(*ends);
            }
        }
    }
}

/// The level that this much held leaves it at. What was spent elsewhere is owed down to one burst and forgiven beyond
/// that; a holding may still be spent, so while more than two bursts are held the level is below that floor.
fn within(level: i64, held: i64, limits: Limits) -> i64 {
    let burst = number::burst(limits);
    level.max(-burst).min(burst - held)
}

/// A bucket after its credit and after what the gateway says of its own; nothing is granted yet.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) bucket: Bucket,
    /// What the asking gateway holds of it.
    pub(super) own: i64,
}

impl Settled {
    pub(super) fn new(before: Option<&Bucket>, moment: Moment, ask: &LeaseAsk) -> Self {
        let burst = number::burst(ask.limits);
        let holding = number::amount(ask.holding);
        let mut bucket = before.cloned().unwrap_or(Bucket {
            level: burst,
            born: moment.now_us,
            last: moment.now,
            ..Bucket::default()
        });
        let own = bucket
            .holders
            .get(moment.gateway)
            .map_or(0, |(amount, _)| *amount);
        bucket.held = bucket.held.max(own);
        let mut level = bucket.credited(moment.now, ask.limits);
        match ask.known {
            Some(known) if number::instant(known.born) != bucket.born => {
                level = level.min(number::signed(known.level));
            }
            _ => level -= (holding - own).max(0),
        }
        let covered = (own - holding).max(0);
        level += number::amount(ask.returning).min(covered) - number::amount(ask.debt);
        bucket.held += holding - own;
        bucket.level = within(level, bucket.held, ask.limits);
        bucket.last = moment.now;
        Self { bucket, own: holding }
    }

    /// What is written down.
    pub(super) fn stored(self, moment: Moment, ask: &LeaseAsk) -> Bucket {
        let Self { mut bucket, own } = self;
        let ends = moment.now + LEASE_MS;
        if bucket.held > own && moment.now >= bucket.sweep {
            bucket.sweep(moment, own);
        }
        bucket.sweep = if bucket.held > own {
            ends.min(bucket.sweep)
        } else {
            ends
        };
        if own > 0 {
            bucket.holders.insert(moment.gateway.to_owned(), (own, ends));
        } else {
            bucket.holders.remove(moment.gateway);
        }
        let (burst, rate) = (number::burst(ask.limits), number::rate(ask.limits));
        // Below the floor it is only while the holdings last.
        let missing = (burst - bucket.level).min(2 * burst);
        let until_full = missing.unsigned_abs().div_ceil(rate.unsigned_abs());
        bucket.kept = LEASE_MS + number::amount(until_full) + MARGIN_MS;
        bucket.expires = moment.now + bucket.kept;
        bucket
    }
}

/// What is granted: whole tokens, not fewer than `least`.
pub(super) fn grant(level: i64, least: i64, most: i64) -> i64 {
    let amount = level.min(most);
    let amount = amount - amount.rem_euclid(1000);
    if amount <= 0 || amount < least { 0 } else { amount }
}
