//! The bucket that stands in for the shared one while that is away: each gateway has its part of the rate.

use keyward_contract::Limits;

use super::TOKEN;
use crate::limits::bucket::Bucket;

/// The bucket that stands in while the shared one is away.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) bucket: Bucket,
    /// Which outage it was made for.
    pub(super) outage: u64,
    pub(super) began_ms: u64,
    /// Something was spent from it that no answer has settled.
    pub(super) is_open: bool,
}

/// Which time without Redis it is, and how many gateways share meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Another outage has another number.
    pub number: u64,
    /// Gateways that were live when last heard, at least 1.
    pub sharers: u32,
}

/// What a call took from a share. A share of 1/N is kept whole and every call costs N times as much, so that no rate
/// is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    pub(super) limits: Limits,
    pub(super) tokens: u32,
}

impl Stake {
    pub(super) fn new(wanted: u64, limits: Limits, sharers: u32) -> Self {
        let tokens = u32::try_from(wanted / TOKEN).unwrap_or(u32::MAX);
        let tokens = tokens.saturating_mul(sharers.max(1));
        Self {
            limits: Limits {
                rate: limits.rate,
                // A share smaller than one call would never let it pass.
                burst: limits.burst.max(tokens),
            },
            tokens,
        }
    }
}
