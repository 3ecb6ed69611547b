//! What is left in an account's buckets, as its usage shows it.

use keyward_contract::Limits;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::left::Left;
use crate::operations::live_buckets::OfAccount;

/// The account's buckets, which its keys, its end customers and all gateways share.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLimits {
    /// Where what is left in them was read; null when it is not known: no Redis is configured, or it is away.
    #[schema(pattern = "^redis$", required = true)]
    source: Option<&'static str>,
    production: RateLimit,
    test: RateLimit,
}

/// One bucket.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLimit {
    /// Calls a second.
    rate: u32,
    /// Calls at once.
    burst: u32,
    /// Calls that are left now, those included that gateways hold; null when it is not known.
    #[schema(required = true)]
    remaining: Option<u64>,
    /// When all of them are there again, in seconds since 1970; null when it is not known.
    #[schema(required = true)]
    reset: Option<i64>,
}

impl RateLimits {
    pub(super) fn new(limits: Limits, buckets: Option<OfAccount>) -> Self {
        let bucket = |left: Option<Left>| RateLimit {
            rate: limits.rate,
            burst: limits.burst,
            remaining: left.map(Left::remaining),
            reset: left.map(Left::reset),
        };
        Self {
            source: buckets.map(|_| "redis"),
            production: bucket(buckets.map(|both| both.production)),
            test: bucket(buckets.map(|both| both.test)),
        }
    }
}
