//! While the shared buckets are away: leased tokens as long as they last, then the account's fallback. What is spent
//! beyond is owed, and told when they are back, so that their return is no second burst.

use std::sync::atomic::Ordering;

use keyward_contract::Fallback;

use super::bucket::Level;
use super::lease::Outage;
use super::legs::{Leg, Legs, Short, Source, Taken};
use super::quota::Sharing;
use super::shared::{SharedLimits, Urgency};

pub(super) fn take(
    shared: &SharedLimits,
    legs: &Legs<'_>,
    now_ms: u64,
    outage: Outage,
) -> Result<Taken, Short> {
    shared.counts().fallbacks.fetch_add(1, Ordering::Relaxed);
    let fallback = legs.record.fallback.unwrap_or(shared.config().fallback);
    legs.take_all(
        |quota| {
            if quota.take_leased(now_ms, legs.record).is_some() {
                return Ok(());
            }
            quota.take_alone(legs.record, Sharing::Generous(outage.sharers))?;
            // The shared quota is told as soon as it is back.
            if quota.enlist() {
                shared.ask_quota(legs.account_id(), quota, Urgency::Soon);
            }
            Ok(())
        },
        |leg| {
            if leg.lease().take(now_ms, leg.limits, legs.wanted()).is_some() {
                return Ok(Source::Lease);
            }
            let source = spend(leg, legs.wanted(), now_ms, (fallback, outage))?;
            if leg.lease().enlist(leg.limits) {
                shared.ask_lease(leg.lease(), Urgency::Soon);
            }
            Ok(source)
        },
    )
}

fn spend(
    leg: &Leg<'_>,
    wanted: u64,
    now_ms: u64,
    (fallback, outage): (Fallback, Outage),
) -> Result<Source, Level> {
    let lease = leg.lease();
    match fallback {
        Fallback::Share => lease
            .take_share(now_ms, leg.limits, wanted, outage)
            .map(Source::Share)
            .ok_or_else(|| lease.share_level(now_ms, leg.limits, outage)),
        Fallback::Allow => {
            lease.owe(wanted);
            Ok(Source::Owed)
        }
        Fallback::Deny => Err(Level {
            millitokens: 0,
            limits: leg.limits,
        }),
    }
}
