//! Charging a call: quota, end customer's tokens and account's tokens together, or none of them.
//!
//! [`Limiter::charge`] is the only maker of a [`Permit`], and the forwarding step takes nothing else. Where the
//! tokens come from is the business of its parts: buckets in this process (`local`), or shared ones in Redis
//! (`leased`, `exact`), with a fallback while that is away. On the steady path none of them waits or allocates.

use std::sync::Arc;
use std::time::Duration;

use keyward_contract::LimitMode;

use crate::admission::{Admitted, Caller, Refused};
use crate::clock::Now;
use crate::rejection::Rejection;
use crate::route::Route;
use crate::sync::SyncState;

pub mod addresses;
pub mod allowance;
pub mod bucket;
pub mod demand;
pub mod fields;
pub mod in_flight;
pub mod lease;
pub mod quota;
pub mod shared;

mod away;
mod exact;
mod leased;
mod legs;
mod local;

use addresses::Addresses;
use bucket::Level;
use fields::Standing;
use in_flight::RouteCalls;
use legs::{Leg, Legs, Short, Taken};
use quota::QuotaLevel;
use shared::SharedLimits;

/// Which limit is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The bucket of the account and environment.
    Account,
    /// The end customer's bucket.
    Customer,
    /// A route's bound on calls in flight.
    Route,
    /// A public route's bound on calls from one address.
    Address,
    /// The account's yearly quota.
    Quota,
}

impl Which {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Account,
        Self::Customer,
        Self::Route,
        Self::Address,
        Self::Quota,
    ];

    /// Its name in headers and in `details.limit`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Customer => "customer",
            Self::Route | Self::Address => "route",
            Self::Quota => "quota",
        }
    }
}

/// Where buckets and quotas are.
#[derive(Debug)]
pub struct Limiter {
    sync: Arc<SyncState>,
    shared: Option<Arc<SharedLimits>>,
    route_calls: Arc<RouteCalls>,
    addresses: Addresses,
}

/// The right to forward one call: who it is, and what was taken for it.
#[derive(Debug)]
pub struct Permit {
    admitted: Admitted,
    charged: Option<Charged>,
    would_limit: Option<Which>,
    cost: u32,
}

/// What a call was charged, and how the limits stand after it.
#[derive(Clone, Debug)]
struct Charged {
    taken: Taken,
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

    /// The limit that would have refused this call, were it not in shadow mode.
    #[must_use]
    pub fn would_limit(&self) -> Option<Which> {
        self.would_limit
    }
}

impl Limiter {
    /// With buckets in this process, or with shared ones.
    #[must_use]
    pub fn new(sync: Arc<SyncState>, shared: Option<Arc<SharedLimits>>) -> Self {
        Self {
            sync,
            shared,
            route_calls: Arc::default(),
            addresses: Addresses::default(),
        }
    }

    /// The shared buckets, when there are any.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<SharedLimits>> {
        self.shared.as_ref()
    }

    /// Charges a call what its route costs. With buckets in this process about four atomic operations, with leased
    /// tokens the same, no allocation; a call that finds nothing leased waits for Redis, at most `limiter.max_wait`.
    ///
    /// # Errors
    /// `QuotaExceeded` or `RateLimited`, and then nothing is charged.
    pub async fn charge(&self, admitted: Admitted, route: &Route, now: Now) -> Result<Permit, Refused> {
        let Some(caller) = admitted.caller() else {
            return Ok(Permit {
                admitted,
                charged: None,
                would_limit: None,
                cost: route.cost,
            });
        };
        let legs = Legs::of(caller, route.cost);
        let (taken, would_limit) = match self.take(&legs, now).await {
            Ok(taken) => (Ok(taken), None),
            Err(short) => self.in_shadow(&legs, route, short, now).await,
        };
        match taken {
            Ok(taken) => {
                let standing = self.standing(caller, now);
                Ok(Permit {
                    charged: Some(Charged { taken, standing }),
                    would_limit,
                    cost: route.cost,
                    admitted,
                })
            }
            Err(short) => {
                let rejection = rejection(caller, route.cost, short, now);
                Err(Refused::caller(rejection, admitted.into_caller()))
            }
        }
    }

    async fn take(&self, legs: &Legs<'_>, now: Now) -> Result<Taken, Short> {
        legs.turn_quota(now.unix);
        match &self.shared {
            None => local::take(legs, now, self.sync.live_gateways()),
            Some(shared) if shared.is_leased() => leased::take(shared, legs, now).await,
            Some(shared) => exact::take(shared, legs, now).await,
        }
    }

    /// A call over a limit in shadow mode is let through; it takes what there is of everything else.
    async fn in_shadow(
        &self,
        legs: &Legs<'_>,
        route: &Route,
        short: Short,
        now: Now,
    ) -> (Result<Taken, Short>, Option<Which>) {
        let is_tier = legs.record.limit_mode == LimitMode::Shadow;
        let would_limit = Some(short.which());
        match short {
            Short::Quota(_) if is_tier => {
                legs.quota().add_spent();
                (Ok(Taken::over_quota()), would_limit)
            }
            Short::Tokens(..) if route.limit_mode(legs.record.limit_mode) == LimitMode::Shadow => {
                match self.take(&legs.without_tokens(), now).await {
                    Err(Short::Quota(_)) if is_tier => {
                        legs.quota().add_spent();
                        (Ok(Taken::over_quota()), would_limit)
                    }
                    taken => (taken, would_limit),
                }
            }
            Short::Quota(_) | Short::Tokens(..) => (Err(short), None),
        }
    }

    /// Gives back everything that was taken for a call that never reached an upstream.
    pub fn give_back(&self, permit: &Permit) {
        if let (Some(charged), Some(caller)) = (&permit.charged, permit.admitted.caller()) {
            Legs::of(caller, permit.cost).give_back(&charged.taken, self.shared.as_deref());
        }
    }

    /// How the limits stand for a caller, as a call would find them. Charges nothing.
    #[must_use]
    pub fn levels(&self, caller: &Caller, now: Now) -> Levels {
        let legs = Legs::of(caller, 1);
        let level = |leg: &Leg<'_>| match &self.shared {
            None => leg.allowance.bucket.level(now.monotonic_ms(), leg.limits),
            Some(shared) => leased::level(shared, leg, now.monotonic_ms()),
        };
        Levels {
            account: level(&legs.account),
            customer: legs.customer.as_ref().map(level),
            quota: legs
                .is_metered()
                .then(|| legs.quota().level(now.unix, legs.record)),
        }
    }

    /// What the rate headers show: the bucket with fewer tokens left; the end customer's when they are equal.
    #[must_use]
    pub fn standing(&self, caller: &Caller, now: Now) -> Standing {
        let legs = Legs::of(caller, 1);
        let level = |leg: &Leg<'_>| match &self.shared {
            None => leg.allowance.bucket.level(now.monotonic_ms(), leg.limits),
            Some(shared) => leased::level(shared, leg, now.monotonic_ms()),
        };
        let account = level(&legs.account);
        let customer = legs.customer.as_ref().map(level);
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
}

/// How every limit of a caller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The account's bucket.
    pub account: Level,
    /// The end customer's, when there is one.
    pub customer: Option<Level>,
    /// The yearly quota; none in the test environment.
    pub quota: Option<QuotaLevel>,
}

fn rejection(caller: &Caller, cost: u32, short: Short, now: Now) -> Rejection {
    let (which, level) = match short {
        Short::Quota(level) => return Rejection::QuotaExceeded(level),
        Short::Tokens(which, level) => (which, level),
    };
    let retry_after = level.until_available(cost);
    Rejection::RateLimited {
        standing: Standing {
            which,
            level,
            policy: fields::policy_of(caller, now.unix),
            reset_after: retry_after,
        },
        retry_after: with_jitter(retry_after),
    }
}

/// Up to a fifth more, and up to 250 ms more, so that refused clients don't come back in one wave.
fn with_jitter(duration: Duration) -> Duration {
    let share = u32::from(crate::random::next() as u16);
    duration + (duration / 5 + Duration::from_millis(250)) * share / u32::from(u16::MAX)
}
