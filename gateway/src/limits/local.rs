//! Buckets and quota in this process: exact for one gateway. Several share what is left of a quota; of the rate each
//! has all.

use super::bucket::Taken as Took;
use super::legs::{Legs, Short, Source, Taken};
use super::quota::Sharing;
use crate::clock::Now;

pub(super) fn take(legs: &Legs<'_>, now: Now, sharers: u32) -> Result<Taken, Short> {
    let now_ms = now.monotonic_ms();
    legs.take_all(
        |quota| quota.take_alone(legs.record, Sharing::Generous(sharers)),
        |leg| match leg.allowance.bucket.take(now_ms, leg.limits, legs.cost) {
            Took::Yes(_) => Ok(Source::Bucket),
            Took::Empty(level) => Err(level),
        },
    )
}
