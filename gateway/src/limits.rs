//! Charging a call: quota, end customer's bucket and account's bucket together, or none of them.
//!
//! [`charge`] is the only maker of a [`Permit`], and the forwarding step takes nothing else. The buckets are
//! behind [`Engine`]: in this process now; an engine that waits for Redis takes the same arguments and gives
//! the same answers, which is why charging is `async`. The local engine never waits.

use std::time::Duration;

use http::HeaderValue;
use keyward_contract::{Environment, Limits};

use crate::admission::{Admitted, Caller, Refused};
use crate::clock::Now;
use crate::rejection::Rejection;

pub mod bucket;
pub mod fields;
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
}

impl Which {
    /// Its name in headers and in `details.limit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Customer => "customer",
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
    account: Limits,
    customer: Option<Limits>,
    cost: u32,
    standing: Standing,
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

    /// Gives back everything that was taken: the call never reached an upstream.
    pub fn give_back(&self) {
        let (Some(charged), Some(caller)) = (&self.charged, self.admitted.caller()) else {
            return;
        };
        let account = caller.account();
        account
            .bucket(caller.environment())
            .give_back(charged.account, charged.cost);
        if let (Some(customer), Some(limits)) = (caller.customer(), charged.customer) {
            customer.bucket.give_back(limits, charged.cost);
        }
        if caller.environment() == Environment::Production {
            account.quota().give_back();
        }
    }
}

/// Charges a call of `cost` tokens. Local: about six atomic operations, no allocation.
///
/// # Errors
/// `QuotaExceeded` or `RateLimited`, and then nothing is charged.
pub async fn charge(engine: Engine, admitted: Admitted, cost: u32, now: Now) -> Result<Permit, Refused> {
    match engine {
        Engine::Local => charge_locally(admitted, cost, now),
    }
}

fn charge_locally(admitted: Admitted, cost: u32, now: Now) -> Result<Permit, Refused> {
    let charged = match admitted.caller() {
        None => {
            return Ok(Permit {
                admitted,
                charged: None,
            });
        }
        Some(caller) => charge_caller(caller, cost, now),
    };
    match charged {
        Ok(charged) => Ok(Permit {
            admitted,
            charged: Some(charged),
        }),
        Err(rejection) => Err(Refused::caller(rejection, admitted.into_caller())),
    }
}

fn charge_caller(caller: &Caller, cost: u32, now: Now) -> Result<Charged, Rejection> {
    let record = &caller.policy().record;
    let is_metered = caller.environment() == Environment::Production;
    if is_metered {
        let charged = caller
            .account()
            .quota()
            .charge(now.unix, record.contract.start, record.annual_limit);
        charged.map_err(Rejection::QuotaExceeded)?;
    }
    take_both(caller, cost, now).inspect_err(|_| {
        if is_metered {
            caller.account().quota().give_back();
        }
    })
}

fn take_both(caller: &Caller, cost: u32, now: Now) -> Result<Charged, Rejection> {
    let account_limits = caller.policy().record.limits;
    let now_ms = now.monotonic_ms();
    let customer = match caller.customer() {
        None => None,
        Some(cell) => {
            let limits = cell.limits(account_limits);
            match cell.bucket.take(now_ms, limits, cost) {
                Taken::Yes(level) => Some((cell, limits, level)),
                Taken::Empty(level) => return Err(limited(caller, Which::Customer, level, cost)),
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
            Err(limited(caller, Which::Account, level, cost))
        }
        Taken::Yes(level) => Ok(Charged {
            account: account_limits,
            customer: customer.as_ref().map(|(_, limits, _)| *limits),
            cost,
            standing: tighter(caller, level, customer.map(|(_, _, level)| level)),
        }),
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
    tighter(caller, account, customer)
}

/// Shows the bucket with fewer tokens left; the end customer's when they are equal.
fn tighter(caller: &Caller, account: Level, customer: Option<Level>) -> Standing {
    let (which, level) = match customer {
        Some(customer) if customer.remaining() <= account.remaining() => (Which::Customer, customer),
        _ => (Which::Account, account),
    };
    Standing {
        which,
        level,
        policy: policy_field(caller),
        reset_after: level.until_full(),
    }
}

fn limited(caller: &Caller, which: Which, level: Level, cost: u32) -> Rejection {
    let retry_after = level.until_available(cost);
    let standing = Standing {
        which,
        level,
        policy: policy_field(caller),
        reset_after: retry_after,
    };
    Rejection::RateLimited {
        standing,
        retry_after: with_jitter(retry_after),
    }
}

fn policy_field(caller: &Caller) -> HeaderValue {
    let policy = caller.policy();
    let limits = policy.record.limits;
    let variants = match caller.environment() {
        Environment::Test => &policy.test_policies,
        Environment::Production => &policy.production_policies,
    };
    match caller.customer().map(|cell| cell.limits(limits)) {
        None => variants[0].clone(),
        Some(own) if own == limits => variants[1].clone(),
        Some(own) => {
            let is_production = caller.environment() == Environment::Production;
            fields::policy(
                limits,
                Some(own),
                is_production.then_some(policy.record.annual_limit),
            )
        }
    }
}

/// Up to a fifth more, and up to 250 ms more, so that refused clients don't come back in one wave.
fn with_jitter(duration: Duration) -> Duration {
    let share = u32::from(crate::random::next() as u16);
    duration + (duration / 5 + Duration::from_millis(250)) * share / u32::from(u16::MAX)
}
