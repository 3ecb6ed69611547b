//! Spending what was leased. A call that finds nothing at hand, while the shared bucket may have it, waits for the
//! limiter's answer: at most `limiter.max_wait`. One that can't be helped by waiting is refused at once.

use std::pin::pin;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::away;
use super::bucket::Level;
use super::legs::{Leg, Legs, Short, Source, Taken};
use super::quota::{Quota, QuotaLevel, Sharing};
use super::shared::{SharedLimits, Urgency};
use crate::clock::Now;
use std::sync::Arc;

pub(super) async fn take(shared: &SharedLimits, legs: &Legs<'_>, now: Now) -> Result<Taken, Short> {
    let now_ms = now.monotonic_ms();
    if let Some(outage) = shared.outage(legs.account_id()) {
        return away::take(shared, legs, now_ms, outage);
    }
    match at_hand(shared, legs, now_ms) {
        Ok(taken) => Ok(taken),
        Err(short) => wait(shared, legs, short).await,
    }
}

/// Takes what is here.
fn at_hand(shared: &SharedLimits, legs: &Legs<'_>, now_ms: u64) -> Result<Taken, Short> {
    legs.take_all(
        |quota| validation(shared, legs, quota, now_ms),
        |leg| match leg.lease().take(now_ms, leg.limits, legs.wanted()) {
            Some(spent) => {
                if spent.runs_low && leg.lease().enlist(leg.limits) {
                    shared.ask_lease(leg.lease(), Urgency::Soon);
                }
                Ok(Source::Lease)
            }
            None => Err(leg.lease().level(now_ms, leg.limits)),
        },
    )
}

fn validation(
    shared: &SharedLimits,
    legs: &Legs<'_>,
    quota: &Arc<Quota>,
    now_ms: u64,
) -> Result<(), QuotaLevel> {
    let runs_low = if quota.is_rebuilding(now_ms) {
        // What is spent now is told with the next batch.
        quota.take_alone(legs.record, Sharing::Strict(shared.sharers()))?;
        true
    } else {
        let taken = quota.take_leased(now_ms, legs.record);
        taken.ok_or_else(|| quota.level_now(legs.record))?
    };
    if runs_low && quota.enlist() {
        shared.ask_quota(legs.account_id(), quota, Urgency::Soon);
    }
    Ok(())
}

async fn wait(shared: &SharedLimits, legs: &Legs<'_>, mut short: Short) -> Result<Taken, Short> {
    let deadline = Instant::now() + shared.config().max_wait;
    let mut is_heard = false;
    loop {
        let mut answered = pin!(legs.caller.account().answered().notified());
        // From here on no answer is missed.
        answered.as_mut().enable();
        if !ask(shared, legs, shared.now_ms()) {
            return Err(short);
        }
        if let Ok(taken) = at_hand(shared, legs, shared.now_ms()) {
            return Ok(taken);
        }
        shared.hurry(legs.account_id());
        shared.counts().waits.fetch_add(1, Ordering::Relaxed);
        let in_time = tokio::time::timeout_at(deadline, answered).await.is_ok();
        is_heard |= in_time;
        let now_ms = shared.now_ms();
        if let Some(outage) = shared.outage(legs.account_id()) {
            return away::take(shared, legs, now_ms, outage);
        }
        short = match at_hand(shared, legs, now_ms) {
            Ok(taken) => return Ok(taken),
            Err(short) => short,
        };
        if !in_time {
            // Answers came, and others were faster; or none came at all.
            return match shared.waited_in_vain(legs.account_id()) {
                Some(outage) if !is_heard => away::take(shared, legs, now_ms, outage),
                _ => Err(short),
            };
        }
    }
}

/// Has asked about everything that this call lacks. Whether waiting may help.
fn ask(shared: &SharedLimits, legs: &Legs<'_>, now_ms: u64) -> bool {
    let mut may_help = true;
    if legs.is_metered() && !legs.quota().has(now_ms) {
        may_help &= legs.quota().want(legs.record, now_ms);
        if legs.quota().enlist() {
            shared.ask_quota(legs.account_id(), legs.quota(), Urgency::Soon);
        }
    }
    for leg in legs.buckets().filter(|_| legs.cost > 0) {
        let lease = leg.lease();
        if !lease.has(now_ms, legs.wanted()) {
            may_help &= lease.want(now_ms, leg.limits, legs.wanted());
            if lease.enlist(leg.limits) {
                shared.ask_lease(lease, Urgency::Soon);
            }
        }
    }
    may_help
}

/// How a bucket stands as far as this gateway knows.
pub(super) fn level(shared: &SharedLimits, leg: &Leg<'_>, now_ms: u64) -> Level {
    match shared.outage(leg.name().account) {
        Some(outage) => leg.lease().share_level(now_ms, leg.limits, outage),
        None => leg.lease().level(now_ms, leg.limits),
    }
}
