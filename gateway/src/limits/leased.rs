//! Spending what was leased. A call that finds nothing at hand, while the shared bucket may have it, waits for the
//! limiter's answer: at most `limiter.max_wait`. One that can't be helped by waiting is refused at once.

use std::pin::pin;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
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
        Err(_) => wait(shared, legs).await,
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

async fn wait(shared: &SharedLimits, legs: &Legs<'_>) -> Result<Taken, Short> {
    let deadline = Instant::now() + shared.config().max_wait;
    loop {
        let mut answered = pin!(lacking(legs, shared.now_ms()).notified());
        // From here on no answer is missed.
        answered.as_mut().enable();
        ask(shared, legs, shared.now_ms())?;
        if let Ok(taken) = at_hand(shared, legs, shared.now_ms()) {
            return Ok(taken);
        }
        shared.hurry(legs.account_id());
        shared.counts().waits.fetch_add(1, Ordering::Relaxed);
        let in_time = tokio::time::timeout_at(deadline, answered).await.is_ok();
        let now_ms = shared.now_ms();
        if let Some(outage) = shared.outage(legs.account_id()) {
            return away::take(shared, legs, now_ms, outage);
        }
        let short = match at_hand(shared, legs, now_ms) {
            Ok(taken) => return Ok(taken),
            Err(short) => short,
        };
        if !in_time {
            // What it waited for last was not answered in time: it goes by the fallback, and what that gives is owed.
            return match shared.waited_in_vain(legs.account_id()) {
                Some(outage) => away::take(shared, legs, now_ms, outage),
                None => Err(too_fast(legs, short, now_ms)),
            };
        }
    }
}

/// What this call lacks, and is to wait for: what is asked about last, so that the rest is there when it comes.
fn lacking<'l>(legs: &Legs<'l>, now_ms: u64) -> &'l Notify {
    let lacks = |leg: &&Leg<'l>| !leg.lease().has(now_ms, legs.wanted());
    let account = std::iter::once(&legs.account).filter(|_| legs.cost > 0);
    let mut buckets = account.chain(legs.customer.iter().filter(|_| legs.cost > 0));
    match buckets.find(lacks) {
        Some(leg) => leg.lease().answered(),
        None => legs.quota().answered(),
    }
}

/// Has asked about everything that this call lacks. What waiting can't help is the answer.
fn ask(shared: &SharedLimits, legs: &Legs<'_>, now_ms: u64) -> Result<(), Short> {
    let mut beyond_help = None;
    if legs.is_metered() && !legs.quota().has(now_ms) {
        if !legs.quota().want(legs.record, now_ms) {
            beyond_help = Some(Short::Quota(legs.quota().level_now(legs.record)));
        }
        if legs.quota().enlist() {
            shared.ask_quota(legs.account_id(), legs.quota(), Urgency::Soon);
        }
    }
    for leg in legs.buckets().filter(|_| legs.cost > 0) {
        let lease = leg.lease();
        if !lease.has(now_ms, legs.wanted()) {
            if !lease.want(now_ms, leg.limits, legs.wanted()) && beyond_help.is_none() {
                beyond_help = Some(Short::Tokens(leg.which, lease.level(now_ms, leg.limits)));
            }
            if lease.enlist(leg.limits) {
                shared.ask_lease(lease, Urgency::Soon);
            }
        }
    }
    beyond_help.map_or(Ok(()), Err)
}

/// A call that waited as long as it may, for validations that there are: it was too fast, no more.
fn too_fast(legs: &Legs<'_>, short: Short, now_ms: u64) -> Short {
    match short {
        Short::Quota(level) if level.remaining() > 0 => {
            let leg = &legs.account;
            Short::Tokens(leg.which, leg.lease().level(now_ms, leg.limits))
        }
        Short::Quota(_) | Short::Tokens(..) => short,
    }
}

/// How a bucket stands as far as this gateway knows.
pub(super) fn level(shared: &SharedLimits, leg: &Leg<'_>, now_ms: u64) -> Level {
    match shared.outage(leg.name().account) {
        Some(outage) => leg.lease().share_level(now_ms, leg.limits, outage),
        None => leg.lease().level(now_ms, leg.limits),
    }
}
