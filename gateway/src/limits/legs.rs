//! The limits of one call, taken together: quota, end customer, account. All of them or none.

use keyward_buckets::{BucketName, RefundAsk};
use keyward_contract::{AccountId, AccountRecord, Environment, Limits, UnixMillis};

use super::Which;
use super::allowance::Allowance;
use super::bucket::Level;
use super::lease::{Lease, Stake};
use super::quota::{Quota, QuotaLevel};
use super::shared::SharedLimits;
use crate::admission::Caller;
use std::sync::Arc;

const TOKEN: u64 = 1_000;

/// What one call is charged by.
#[derive(Debug)]
pub(super) struct Legs<'c> {
    pub(super) caller: &'c Caller,
    pub(super) record: &'c AccountRecord,
    pub(super) account: Leg<'c>,
    pub(super) customer: Option<Leg<'c>>,
    /// Tokens; 0: none are taken, whatever there is.
    pub(super) cost: u32,
}

/// One bucket of a call.
#[derive(Debug)]
pub(super) struct Leg<'c> {
    pub(super) which: Which,
    pub(super) allowance: &'c Allowance,
    pub(super) limits: Limits,
    caller: &'c Caller,
}

/// Where a call's tokens came from: it is where they are given back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The bucket in this process.
    Bucket,
    /// Leased tokens.
    Lease,
    /// The share of a bucket that is away.
    Share(Stake),
    /// The shared bucket, for this call alone.
    Central,
    /// No bucket: it is away, and its fallback lets everything pass. It is owed.
    Owed,
    /// No bucket at all.
    Nowhere,
}

/// What was taken for a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) account: Source,
    pub(super) customer: Option<Source>,
    /// Whether a validation was spent.
    pub(super) is_metered: bool,
}

impl Taken {
    /// Nothing but a validation that the quota does not have.
    pub(super) fn over_quota() -> Self {
        Self {
            account: Source::Nowhere,
            customer: None,
            is_metered: true,
        }
    }
}

/// Which limit has too little, and what it has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Short {
    Quota(QuotaLevel),
    Tokens(Which, Level),
}

impl Short {
    pub(super) fn which(&self) -> Which {
        match self {
            Self::Quota(_) => Which::Quota,
            Self::Tokens(which, _) => *which,
        }
    }
}

impl<'c> Legs<'c> {
    pub(super) fn of(caller: &'c Caller, cost: u32) -> Self {
        let record = &caller.policy().record;
        let customer = caller.customer_key().and_then(|key| {
            Some(Leg {
                which: Which::Customer,
                allowance: &key.customer.as_ref()?.allowance,
                limits: key.customer_limits(record.limits),
                caller,
            })
        });
        Self {
            account: Leg {
                which: Which::Account,
                allowance: caller.account().allowance(caller.environment()),
                limits: record.limits,
                caller,
            },
            caller,
            record,
            customer,
            cost,
        }
    }

    /// The same call, taking no tokens.
    pub(super) fn without_tokens(&self) -> Self {
        Self::of(self.caller, 0)
    }

    pub(super) fn account_id(&self) -> AccountId {
        self.caller.account().id()
    }

    pub(super) fn quota(&self) -> &'c Arc<Quota> {
        self.caller.account().quota()
    }

    /// Whether it counts against the quota.
    pub(super) fn is_metered(&self) -> bool {
        self.caller.environment() == Environment::Production
    }

    /// Thousandths of a token.
    pub(super) fn wanted(&self) -> u64 {
        u64::from(self.cost) * TOKEN
    }

    pub(super) fn turn_quota(&self, now: UnixMillis) {
        if self.is_metered() {
            self.quota().turn(now, self.record.contract.start);
        }
    }

    /// All buckets, the end customer's first.
    pub(super) fn buckets(&self) -> impl Iterator<Item = &Leg<'c>> {
        self.customer.iter().chain(std::iter::once(&self.account))
    }

    /// Takes a validation and every bucket's tokens, or nothing.
    pub(super) fn take_all(
        &self,
        validation: impl FnOnce(&Arc<Quota>) -> Result<(), QuotaLevel>,
        tokens: impl Fn(&Leg<'c>) -> Result<Source, Level>,
    ) -> Result<Taken, Short> {
        if self.is_metered() {
            validation(self.quota()).map_err(Short::Quota)?;
        }
        let tokens = |leg: &Leg<'c>| {
            if self.cost == 0 {
                return Ok(Source::Nowhere);
            }
            tokens(leg).map_err(|level| Short::Tokens(leg.which, level))
        };
        let give_validation_back = |_: &Short| {
            if self.is_metered() {
                self.quota().give_back();
            }
        };
        let customer = self.customer.as_ref().map(&tokens).transpose();
        let customer = customer.inspect_err(give_validation_back)?;
        let account = tokens(&self.account).inspect_err(|short| {
            if let (Some(leg), Some(source)) = (&self.customer, customer) {
                leg.give_back(source, self.cost);
            }
            give_validation_back(short);
        })?;
        Ok(Taken {
            account,
            customer,
            is_metered: self.is_metered(),
        })
    }

    /// Gives back all of what was taken.
    pub(super) fn give_back(&self, taken: &Taken, shared: Option<&SharedLimits>) {
        if taken.is_metered {
            self.quota().give_back();
        }
        self.account.give_back(taken.account, self.cost);
        if let (Some(leg), Some(source)) = (&self.customer, taken.customer) {
            leg.give_back(source, self.cost);
        }
        if let (Source::Central, Some(shared)) = (taken.account, shared) {
            let refund = RefundAsk {
                buckets: self.buckets().map(|leg| (leg.name(), leg.limits)).collect(),
                thousandths: self.wanted(),
            };
            shared.refund(self.account_id(), refund);
        }
    }
}

impl<'c> Leg<'c> {
    /// The shared bucket's name.
    pub(super) fn name(&self) -> BucketName {
        BucketName {
            account: self.caller.account().id(),
            environment: self.caller.environment(),
            customer: match self.which {
                Which::Customer => self.caller.customer().map(|cell| cell.id),
                Which::Account | Which::Route | Which::Address | Which::Quota => None,
            },
        }
    }

    /// This gateway's part of the shared bucket.
    pub(super) fn lease(&self) -> &'c Arc<Lease> {
        self.allowance.lease(|| self.name())
    }

    fn give_back(&self, source: Source, cost: u32) {
        let wanted = u64::from(cost) * TOKEN;
        match source {
            Source::Bucket => self.allowance.bucket.give_back(self.limits, cost),
            Source::Lease => self.lease().give_back(wanted),
            Source::Share(stake) => self.lease().give_back_share(stake, wanted),
            Source::Owed => self.lease().owe_less(wanted),
            // Both buckets of a single charge are given back in one question.
            Source::Central | Source::Nowhere => {}
        }
    }
}
