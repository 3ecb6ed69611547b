//! The catalogue of tiers, and what an account's tier means in numbers.

use keyward_config::Tier;
use keyward_contract::{Fallback, LimitMode, Limits};
use serde::{Deserialize, Serialize};

use super::refusal::InvalidField;

/// The largest number that every JSON reader holds exactly.
pub const MAX_WHOLE_NUMBER: u64 = (1 << 53) - 1;

/// Every tier there is, in the operator's order.
#[derive(Clone, Debug)]
pub struct Catalogue(Vec<Tier>);

impl Catalogue {
    /// The catalogue of the configuration.
    #[must_use]
    pub fn new(tiers: Vec<Tier>) -> Self {
        Self(tiers)
    }

    /// Every tier.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.0
    }

    /// The tier of this key.
    #[must_use]
    pub fn tier(&self, key: &str) -> Option<&Tier> {
        self.0.iter().find(|tier| tier.key == key)
    }

    /// What the limits of a tier do; of one that is in the catalogue no more, `None`.
    #[must_use]
    pub fn policy(&self, key: &str) -> Option<Policy> {
        self.tier(key).map(|tier| Policy {
            limit_mode: tier.mode,
            fallback: tier.fallback,
        })
    }

    /// What an account on this tier with these overrides gets.
    ///
    /// # Errors
    /// When there is no such tier, or it can't be negotiated, or its numbers can't be limits.
    pub fn terms(&self, key: &str, overrides: Option<&Overrides>) -> Result<Terms, InvalidField> {
        let Some(tier) = self.tier(key) else {
            let known: Vec<_> = self.0.iter().map(|tier| tier.key.as_str()).collect();
            return Err(InvalidField::new(
                "tier",
                format!("must be one of {}", known.join(", ")),
            ));
        };
        if overrides.is_some() && !tier.negotiable {
            return Err(InvalidField::new(
                "overrides",
                "are for accounts on the custom tier alone",
            ));
        }
        let given = overrides.copied().unwrap_or_default();
        Ok(Terms {
            annual_price: given.annual_price.unwrap_or(tier.annual_price),
            annual_limit: given.annual_limit.unwrap_or(tier.annual_limit),
            limits: Limits {
                rate: given.rate_limit.unwrap_or(tier.rate_limit),
                burst: given.burst_limit.unwrap_or(tier.burst_limit),
            },
        })
    }
}

/// Numbers that an account negotiated for itself; absent ones are the catalogue's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// USD a year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annual_price: Option<u64>,
    /// Validations a contract year, above zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annual_limit: Option<u64>,
    /// Calls a second, above zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Calls at once, above zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_limit: Option<u32>,
}

/// What the limits of a tier do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether a call over a limit is refused.
    pub limit_mode: LimitMode,
    /// What holds while the shared buckets are away; `None`: what each gateway is configured to do.
    pub fallback: Option<Fallback>,
}

/// How the store and the audit trail write what a limit does.
#[must_use]
pub fn mode_as_str(mode: LimitMode) -> &'static str {
    match mode {
        LimitMode::Enforce => "enforce",
        LimitMode::Shadow => "shadow",
    }
}

/// How the store and the audit trail write a fallback.
#[must_use]
pub fn fallback_as_str(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::Share => "share",
        Fallback::Allow => "allow",
        Fallback::Deny => "deny",
    }
}

/// What an account gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// USD a year.
    pub annual_price: u64,
    /// Validations a contract year.
    pub annual_limit: u64,
    /// Rate and burst.
    pub limits: Limits,
}
