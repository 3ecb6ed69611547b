//! Which machine of an upstream gets a call, when a machine counts as unhealthy, and what is tried again.

use std::time::Duration;

use http::{HeaderName, StatusCode};

/// `upstreams.balance`: which machine gets a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two drawn at random, the one with fewer calls in flight.
    LeastRequests,
    /// Always the same for the same of this.
    Hash(HashedBy),
}

/// `upstreams.balance.hash`: what decides the machine. A call that has no such thing goes by its client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashedBy {
    /// The key that says which account calls.
    Key,
    /// The end customer.
    Customer,
    /// The client's address.
    Address,
    /// This header of the request.
    Header(HeaderName),
}

/// `upstreams.health`; at least one of the two kinds of checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Questions that the gateway asks by itself.
    pub active: Option<ActiveChecks>,
    /// What is learnt from calls.
    pub passive: Option<PassiveChecks>,
    /// `panic_threshold`: when fewer of the machines than this are healthy, all are used.
    pub panic_threshold: Portion,
}

/// `upstreams.health`, as far as it is about questions that the gateway asks by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveChecks {
    /// `path`: what is asked for, a target of a request.
    pub path: String,
    /// `interval`: from one question to the next.
    pub interval: Duration,
    /// `timeout`: how long an answer may take, the connection included.
    pub timeout: Duration,
    /// `healthy`: so many good answers in a row make a machine healthy again.
    pub healthy: u32,
    /// `unhealthy`: so many bad ones in a row make it unhealthy.
    pub unhealthy: u32,
    /// `expect`: statuses that are good; empty: every 2xx.
    pub expect: Vec<StatusCode>,
}

/// `upstreams.health.passive`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassiveChecks {
    /// `failures`: so many in a row put a machine out.
    pub failures: u32,
    /// `statuses`: answers that are failures.
    pub statuses: Vec<StatusCode>,
    /// `ejection`: for how long at first; twice as long each time that it happens again soon.
    pub ejection: Duration,
    /// `max_ejection`: for how long at most.
    pub max_ejection: Duration,
    /// `max_ejected`: the share of the machines that may be out in this way at the same time.
    pub max_ejected: Portion,
}

/// `upstreams.retries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// `attempts`: how often a call is sent at most, the first time included.
    pub attempts: u32,
    /// `statuses`: answers after which a call is sent again.
    pub statuses: Vec<StatusCode>,
    /// `budget`: repeats as a share of the calls of the last ten seconds.
    pub budget: Portion,
    /// `min_per_second`: repeats that are allowed in each second however few calls there are.
    pub min_per_second: u32,
    /// `backoff`: the most that is waited before the first repeat; twice as long before each further one.
    pub backoff: Duration,
}

/// A share in whole percent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion(u8);

impl Portion {
    /// So many percent; more than 100 is 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// This share of a number, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let share = u128::from(whole) * u128::from(self.0) / 100;
        u64::try_from(share).unwrap_or(whole)
    }

    /// Whether `part` is less than this share of `whole`.
    #[must_use]
    pub fn is_more_than(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 100 < u128::from(whole) * u128::from(self.0)
    }
}
