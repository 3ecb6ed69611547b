//! An account: a company that buys access, with its two environments.

use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, Environment, EnvironmentId, Grant, Limits, UnixMillis,
};

use super::refusal::InvalidField;
use super::text::Name;
use super::tier::{Overrides, Policy, Terms};

/// How many keys the users of a new environment may have together.
pub const DEFAULT_USER_KEY_LIMIT: u32 = 20;
/// The most that an operator may allow.
pub const MAX_USER_KEY_LIMIT: u32 = 100_000;

/// A company that buys access.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub company_name: Name,
    /// Whom to write to.
    pub contact_email: String,
    /// The key of its tier.
    pub tier: String,
    /// Whether it may use what it bought.
    pub status: AccountStatus,
    /// When its contract holds.
    pub contract: Contract,
    /// What it negotiated, on a negotiable tier.
    pub overrides: Option<Overrides>,
    /// The operator's notes.
    pub metadata: Metadata,
    /// Rate and burst as the gateways know them.
    pub limits: Limits,
    /// Validations a contract year as the gateways know them.
    pub annual_limit: u64,
    /// Its environments.
    pub environments: Environments,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl Account {
    /// Whether its keys may be used now, on gateways and on the surfaces of its own.
    #[must_use]
    pub fn may_call(&self, now: UnixMillis) -> bool {
        self.status == AccountStatus::Active && self.contract.holds_at(now)
    }

    /// Puts these terms in force.
    pub fn apply(&mut self, terms: Terms) {
        self.limits = terms.limits;
        self.annual_limit = terms.annual_limit;
    }

    /// What gateways are told of it: with what its tier's limits do, and what was granted to it.
    #[must_use]
    pub fn record(&self, policy: Policy, grants: Vec<Grant>) -> AccountRecord {
        AccountRecord {
            id: self.id,
            status: self.status,
            tier: self.tier.clone(),
            limits: self.limits,
            annual_limit: self.annual_limit,
            contract: self.contract,
            test_environment: self.environments.test.id,
            production_environment: self.environments.production.id,
            limit_mode: policy.limit_mode,
            fallback: policy.fallback,
            grants,
        }
    }
}

/// The two environments of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environments {
    /// Free of quota.
    pub test: EnvironmentSettings,
    /// What is billed.
    pub production: EnvironmentSettings,
}

impl Environments {
    /// Both, with their kinds.
    #[must_use]
    pub fn both(&self) -> [(Environment, EnvironmentSettings); 2] {
        [
            (Environment::Test, self.test),
            (Environment::Production, self.production),
        ]
    }
}

/// One environment of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentSettings {
    /// Its id.
    pub id: EnvironmentId,
    /// How many keys its users may have together.
    pub user_key_limit: u32,
}

impl EnvironmentSettings {
    /// A new environment.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self {
            id: EnvironmentId::random()?,
            user_key_limit: DEFAULT_USER_KEY_LIMIT,
        })
    }
}

/// The operator's notes on an account: at most 50 texts by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(serde_json::Map<String, serde_json::Value>);

impl Metadata {
    /// Checks notes as they were sent.
    ///
    /// # Errors
    /// When there are too many, or a name or a value is too long or no text.
    pub fn parse(notes: serde_json::Map<String, serde_json::Value>) -> Result<Self, InvalidField> {
        if notes.len() > 50 {
            return Err(InvalidField::new("metadata", "must have at most 50 entries"));
        }
        for (name, value) in &notes {
            if name.is_empty() || name.chars().count() > 100 {
                return Err(InvalidField::new(
                    "metadata",
                    "names must have 1 to 100 characters",
                ));
            }
            match value.as_str() {
                Some(text) if text.chars().count() <= 500 => {}
                _ => {
                    return Err(InvalidField::new(
                        "metadata",
                        "values must be texts of at most 500 characters",
                    ));
                }
            }
        }
        Ok(Self(notes))
    }

    /// Notes that were stored.
    #[must_use]
    pub fn from_stored(notes: serde_json::Map<String, serde_json::Value>) -> Self {
        Self(notes)
    }

    /// The notes by name.
    #[must_use]
    pub fn as_map(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.0
    }
}

/// Checks that a contract does not end before it starts.
///
/// # Errors
/// When it does.
pub fn check_contract(contract: Contract) -> Result<Contract, InvalidField> {
    match (contract.start, contract.end) {
        (Some(start), Some(end)) if end <= start => Err(InvalidField::new(
            "contract_end",
            "must not be before contract_start",
        )),
        _ => Ok(contract),
    }
}

/// How every surface and the store write a status.
#[must_use]
pub fn status_as_str(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended => "suspended",
        AccountStatus::Cancelled => "cancelled",
    }
}

/// Reads what [`status_as_str`] wrote.
///
/// # Errors
/// When it is no status.
pub fn status_from_str(text: &str) -> Result<AccountStatus, String> {
    match text {
        "active" => Ok(AccountStatus::Active),
        "suspended" => Ok(AccountStatus::Suspended),
        "cancelled" => Ok(AccountStatus::Cancelled),
        other => Err(format!("`{other}` is no account status")),
    }
}
