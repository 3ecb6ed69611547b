//! Charging a call: quota, end customer's bucket and account's bucket together, or none of them.
//!
//! [`charge`] is the only maker of a [`Permit`], and the forwarding step takes nothing else. The buckets are
//! behind [`Engine`]: in this process now; an engine that waits for Redis takes the same arguments and gives
//! the same answers, which is why charging is `async`. The local engine never waits.

use std::time::Duration;

use keyward_contract::{Environment, LimitMode, Limits};

use crate::admission::{Admitted, Caller, Refused};
use crate::clock::Now;
use crate::rejection::Rejection;
use crate::route::Route;

pub mod bucket;
pub mod fields;
pub mod in_flight;
pub mod quota;

use bucket::{Level, Taken};
use fields::Standing;

/// Which limit is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The bucket of the account and environment.
    Account,
    /// The end customer's bucket.
    Customer,
    /// A route's bound on calls in flight.
    Route,
    /// The account's yearly quota.
    Quota,
}

impl Which {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Account, Self::Customer, Self::Route, Self::Quota];

    /// Its name in headers and in `details.limit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Customer => "customer",
            Self::Route => "route",
            Self::Quota => "quota",
        }
    }
}

/// Where the buckets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// In this process: exact for one gateway.
    #[default]
    Local,
}

/// The right to forward one call: who it is, and what was taken for it.
#[derive(Debug)]
pub struct Permit {
    admitted: Admitted,
    charged: Option<Charged>,
}

#[derive(Clone, Debug)]
struct Charged {
    /// `None`: the buckets gave nothing, and that only counts.
    buckets: Option<Buckets>,
    standing: Standing,
    would_limit: Option<Which>,
}

/// What was taken from the buckets.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    account: Limits,
    customer: Option<Limits>,
    cost: u32,
}

impl Permit {
    /// Who calls; `None` on public routes.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.admitted.caller()
    }

    /// Gives up the permit and keeps who it was, for a refusal by the forwarding step.
    #[must_use]
    pub fn into_caller(self) -> Option<Caller> {
        self.admitted.into_caller()
    }

    /// How the limits stand after this call; `None` on public routes.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        self.charged.as_ref().map(|charged| &charged.standing)
    }

    /// The limit in shadow mode that would have refused this call.
    #[must_use]
    pub fn would_limit(&self) -> Option<Which> {
        self.charged.as_ref()?.would_limit
    }

    /// Gives back everything that was taken: the call never reached an upstream.
    pub fn give_back(&self) {
        let (Some(charged), Some(caller)) = (&self.charged, self.admitted.caller()) else {
            return;
        };
        let account = caller.account();
        if let Some(buckets) = charged.buckets {
            account
                .bucket(caller.environment())
                .give_back(buckets.account, buckets.cost);
            if let (Some(customer), Some(limits)) = (caller.customer(), buckets.customer) {
                customer.bucket.give_back(limits, buckets.cost);
            }
        }
        if caller.environment() == Environment::Production {
            account.quota().give_back();
        }
    }
}

/// Charges a call what its route costs. Local: about six atomic operations, no allocation.
///
/// Limits in shadow mode refuse nothing: where the buckets have too little they give nothing, as if the call had been
/// refused, so that what is counted is what enforcing would do. The quota counts it all the same.
///
/// # Errors
/// `QuotaExceeded` or `RateLimited`, and then nothing is charged.
pub async fn charge(engine: Engine, admitted: Admitted, route: &Route, now: Now) -> Result<Permit, Refused> {
    match engine {
        Engine::Local => charge_locally(admitted, route, now),
    }
}

fn charge_locally(admitted: Admitted, route: &Route, now: Now) -> Result<Permit, Refused> {
    let charged = match admitted.caller() {
        None => {
            return Ok(Permit {
                admitted,
                charged: None,
            });
        }
        Some(caller) => charge_caller(caller, route, now),
    };
    match charged {
        Ok(charged) => Ok(Permit {
            admitted,
            charged: Some(charged),
        }),
        Err(rejection) => Err(Refused::caller(rejection, admitted.into_caller())),
    }
}

fn charge_caller(caller: &Caller, route: &Route, now: Now) -> Result<Charged, Rejection> {
    let record = &caller.policy().record;
    let is_metered = caller.environment() == Environment::Production;
    let over_quota = is_metered && !charge_quota(caller, now)?;
    match take_both(caller, route.cost, now) {
        Ok((buckets, standing)) => Ok(Charged {
            buckets: Some(buckets),
            standing,
            would_limit: over_quota.then_some(Which::Quota),
        }),
        Err((which, _)) if route.limit_mode(record.limit_mode) == LimitMode::Shadow => Ok(Charged {
            buckets: None,
            standing: standing(caller, now),
            would_limit: Some(if over_quota { Which::Quota } else { which }),
        }),
        Err((which, level)) => {
            if is_metered {
                caller.account().quota().give_back();
            }
            Err(limited(caller, which, level, route.cost, now))
        }
    }
}

/// Whether there was room; where there was none and the tier only counts, it is counted beyond.
fn charge_quota(caller: &Caller, now: Now) -> Result<bool, Rejection> {
    let (record, quota) = (&caller.policy().record, caller.account().quota());
    let charge = |limit| quota.charge(now.unix, record.contract.start, limit);
    match charge(record.annual_limit) {
        Ok(()) => Ok(true),
        Err(_) if record.limit_mode == LimitMode::Shadow => {
            charge(u64::MAX).map_err(Rejection::QuotaExceeded)?;
            Ok(false)
        }
        Err(level) => Err(Rejection::QuotaExceeded(level)),
    }
}

fn take_both(caller: &Caller, cost: u32, now: Now) -> Result<(Buckets, Standing), (Which, Level)> {
    let account_limits = caller.policy().record.limits;
    let now_ms = now.monotonic_ms();
    let customer = match caller.customer() {
        None => None,
        Some(cell) => {
            let limits = cell.limits(account_limits);
            match cell.bucket.take(now_ms, limits, cost) {
                Taken::Yes(level) => Some((cell, limits, level)),
                Taken::Empty(level) => return Err((Which::Customer, level)),
            }
        }
    };
    match caller
        .account()
        .bucket(caller.environment())
        .take(now_ms, account_limits, cost)
    {
        Taken::Empty(level) => {
            if let Some((cell, limits, _)) = customer {
                cell.bucket.give_back(limits, cost);
            }
            Err((Which::Account, level))
        }
        Taken::Yes(level) => {
            let buckets = Buckets {
                account: account_limits,
                customer: customer.as_ref().map(|(_, limits, _)| *limits),
                cost,
            };
            let standing = tighter(caller, level, customer.map(|(_, _, level)| level), now);
            Ok((buckets, standing))
        }
    }
}

/// How the limits stand for a caller, without charging anything.
#[must_use]
pub fn standing(caller: &Caller, now: Now) -> Standing {
    let (limits, now_ms) = (caller.policy().record.limits, now.monotonic_ms());
    let account = caller
        .account()
        .bucket(caller.environment())
        .level(now_ms, limits);
    let customer = caller
        .customer()
        .map(|cell| cell.bucket.level(now_ms, cell.limits(limits)));
    tighter(caller, account, customer, now)
}

/// Shows the bucket with fewer tokens left; the end customer's when they are equal.
fn tighter(caller: &Caller, account: Level, customer: Option<Level>, now: Now) -> Standing {
    let (which, level) = match customer {
        Some(customer) if customer.remaining() <= account.remaining() => (Which::Customer, customer),
        _ => (Which::Account, account),
    };
    Standing {
        which,
        level,
        policy: fields::policy_of(caller, now.unix),
        reset_after: level.until_full(),
    }
}

fn limited(caller: &Caller, which: Which, level: Level, cost: u32, now: Now) -> Rejection {
    let retry_after = level.until_available(cost);
    let standing = Standing {
        which,
        level,
        policy: fields::policy_of(caller, now.unix),
        reset_after: retry_after,
    };
    Rejection::RateLimited {
        standing,
        retry_after: with_jitter(retry_after),
    }
}

/// Up to a fifth more, and up to 250 ms more, so that refused clients don't come back in one wave.
fn with_jitter(duration: Duration) -> Duration {
    let share = u32::from(crate::random::next() as u16);
    duration + (duration / 5 + Duration::from_millis(250)) * share / u32::from(u16::MAX)
}
