//! Accounts and end customers in memory: one cell each, shared by every key that belongs to it.
//!
//! A cell holds what must be one for all keys (buckets, quota) and the policy that a change replaces at once,
//! so that suspending an account costs the same with one key or ten thousand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use keyward_contract::{AccountId, AccountRecord, CustomerId, Environment, Limits};

use crate::limits::allowance::Allowance;
use crate::limits::fields;
use crate::limits::quota::Quota;
use crate::onward::lines;
use crate::telemetry::TierSlot;

/// One account: its present policy, what it may spend, and its quota.
#[derive(Debug)]
pub struct AccountCell {
    id: AccountId,
    policy: ArcSwap<AccountPolicy>,
    test: Allowance,
    production: Allowance,
    quota: Arc<Quota>,
}

impl AccountCell {
    pub(super) fn new(policy: AccountPolicy) -> Self {
        Self {
            id: policy.record.id,
            quota: Arc::new(Quota::new(policy.record.id)),
            policy: ArcSwap::from_pointee(policy),
            test: Allowance::default(),
            production: Allowance::default(),
        }
    }

    /// Whose cell this is.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> arc_swap::Guard<Arc<AccountPolicy>> {
        self.policy.load()
    }

    /// The tokens of one of its environments.
    #[must_use]
    pub fn allowance(&self, environment: Environment) -> &Allowance {
        match environment {
            Environment::Test => &self.test,
            Environment::Production => &self.production,
        }
    }

    /// Its yearly quota.
    #[must_use]
    pub fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// Whether it says nothing that a fresh cell would not say.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        let limits = self.policy().record.limits;
        let allowances = [&self.test, &self.production];
        allowances
            .iter()
            .all(|allowance| allowance.is_idle(now_ms, limits))
            && self.quota.is_untouched()
    }

    pub(super) fn replace_policy(&self, policy: AccountPolicy) {
        self.policy.store(Arc::new(policy));
    }
}

/// An account's record and what is made of it once, instead of once a call.
#[derive(Debug)]
pub struct AccountPolicy {
    /// As the control plane sent it.
    pub record: AccountRecord,
    /// Where its calls are counted in metrics.
    pub tier_slot: TierSlot,
    /// `RateLimit-Policy` of its calls.
    pub policies: fields::Policies,
    test_identity: Box<[u8]>,
    production_identity: Box<[u8]>,
}

impl AccountPolicy {
    pub(super) fn new(record: AccountRecord, tier_slot: TierSlot) -> Self {
        let identity = |environment| {
            lines(&[
                ("keyward-account", &record.id.to_string()),
                (
                    "keyward-environment",
                    &record.environment_id(environment).to_string(),
                ),
                ("keyward-tier", &record.tier),
            ])
        };
        Self {
            tier_slot,
            policies: fields::Policies::new(&record),
            test_identity: identity(Environment::Test),
            production_identity: identity(Environment::Production),
            record,
        }
    }

    /// The lines `Keyward-Account`, `Keyward-Environment` and `Keyward-Tier` of a forwarded head.
    #[must_use]
    pub fn identity(&self, environment: Environment) -> &[u8] {
        match environment {
            Environment::Test => &self.test_identity,
            Environment::Production => &self.production_identity,
        }
    }
}

/// One end customer: what all its keys, one after the other, share.
#[derive(Debug)]
pub struct CustomerCell {
    /// Its id.
    pub id: CustomerId,
    /// Whose end customer it is; held, so that the account's cell outlives its customers'.
    account: Arc<AccountCell>,
    /// Its tokens.
    pub allowance: Allowance,
    /// The line `Keyward-Customer` of a forwarded head.
    pub identity: Box<[u8]>,
    /// Rate and burst of its own as last read, in one word so that they change together; 0 when it has none. Says only
    /// when its bucket is full again: calls go by what their key's record says.
    own_limits: AtomicU64,
}

impl CustomerCell {
    pub(super) fn new(id: CustomerId, account: Arc<AccountCell>) -> Self {
        let identity = lines(&[("keyward-customer", id.as_str())]);
        Self {
            id,
            account,
            allowance: Allowance::default(),
            identity,
            own_limits: AtomicU64::new(0),
        }
    }

    /// Whether it says nothing that a fresh cell would not say.
    pub(super) fn is_idle(&self, now_ms: u64) -> bool {
        self.allowance.is_idle(now_ms, self.present_limits())
    }

    pub(super) fn set_own_limits(&self, own: Option<Limits>) {
        let word = own.map_or(0, |own| u64::from(own.rate) << 32 | u64::from(own.burst));
        self.own_limits.store(word, Ordering::Relaxed);
    }

    /// Rate and burst as last read.
    pub(super) fn present_limits(&self) -> Limits {
        self.limits(self.account.policy().record.limits)
    }

    fn limits(&self, of_account: Limits) -> Limits {
        match self.own_limits.load(Ordering::Relaxed) {
            0 => of_account,
            word => Limits {
                rate: ((word >> 32) as u32).min(of_account.rate),
                burst: (word as u32).min(of_account.burst),
            },
        }
    }
}
