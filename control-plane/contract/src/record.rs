//! The records that a gateway decides by, checked when they arrive.
//!
//! The wire forms are in [`crate::feed`]. `TryFrom` a wire form refuses whatever a correct control plane would
//! never send, with a reason; nothing downstream needs to look twice.

use crate::address::AddressList;
use crate::digest::KeyDigest;
use crate::id::{AccountId, CustomerId, EnvironmentId, KeyId};
use crate::key::Environment;
use crate::period::{QuotaPeriod, UnixMillis};

/// No account has as many grants that still count: a thousand may be made in a contract year.
const MOST_GRANTS: usize = 10_000;
/// No count is larger: beyond it, not every whole number is one to who counts in doubles.
const LARGEST_COUNT: u64 = 1 << 53;

/// A rate and a burst, both above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens a second.
    pub rate: u32,
    /// Tokens at most.
    pub burst: u32,
}

/// Whether an account may use what it bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountStatus {
    /// It may.
    Active,
    /// An operator stopped it for a time.
    Suspended,
    /// It is gone for good.
    Cancelled,
}

/// When an account's contract holds: start inclusive, end exclusive; absent bounds don't bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// The first instant.
    pub start: Option<UnixMillis>,
    /// The first instant after it.
    pub end: Option<UnixMillis>,
}

impl Contract {
    /// Whether the contract holds at this instant.
    #[must_use]
    pub fn holds_at(&self, now: UnixMillis) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now < end)
    }
}

/// What a gateway needs to know of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Its id.
    pub id: AccountId,
    /// Whether it may use what it bought.
    pub status: AccountStatus,
    /// The key of its tier, such as `growth`.
    pub tier: String,
    /// Rate and burst of the account's bucket in each environment.
    pub limits: Limits,
    /// Validations a contract year.
    pub annual_limit: u64,
    /// When its contract holds.
    pub contract: Contract,
    /// The id of its test environment.
    pub test_environment: EnvironmentId,
    /// The id of its production environment.
    pub production_environment: EnvironmentId,
    /// What its limits do.
    pub limit_mode: LimitMode,
    /// What holds while the shared buckets are away; `None`: what the gateway is configured to do.
    pub fallback: Option<Fallback>,
    /// Extra validations that were granted, of the running contract year and later.
    pub grants: Vec<Grant>,
}

/// What the limits of a tier or route do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LimitMode {
    /// Calls over a limit are refused.
    #[default]
    Enforce,
    /// Calls over a limit are counted, and let through.
    Shadow,
}

/// What holds for an account while the shared buckets are away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Each gateway has a bucket of the rate divided by the number of live gateways.
    #[default]
    Share,
    /// Every call passes.
    Allow,
    /// No call passes.
    Deny,
}

/// Extra validations for the contract year that an instant lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// When they were granted.
    pub at: UnixMillis,
    /// How many.
    pub validations: u64,
}

impl AccountRecord {
    /// Validations in one contract year: the annual limit and what was granted for that year.
    #[must_use]
    pub fn quota_in(&self, period: QuotaPeriod) -> u64 {
        let granted = self
            .grants
            .iter()
            .filter(|grant| period.start <= grant.at && grant.at < period.end)
            .fold(0u64, |sum, grant| sum.saturating_add(grant.validations));
        self.annual_limit.saturating_add(granted)
    }

    /// The id of one of its environments.
    #[must_use]
    pub fn environment_id(&self, environment: Environment) -> EnvironmentId {
        match environment {
            Environment::Test => self.test_environment,
            Environment::Production => self.production_environment,
        }
    }
}

/// A key's own state, whatever its account's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// May be used.
    Active,
    /// Switched off; may be switched on again.
    Disabled,
    /// Dead for good.
    Revoked,
    /// Dead for good, and no longer listed.
    Deleted,
}

/// What a gateway needs to know of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// How it is found.
    pub digest: KeyDigest,
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub account: AccountId,
    /// Where it is valid.
    pub environment: Environment,
    /// The end customer of a customer key; `None` for an account key.
    pub customer: Option<CustomerId>,
    /// Its own state.
    pub state: KeyState,
    /// The first instant at which it is dead.
    pub expires_at: Option<UnixMillis>,
    /// Where it may be used from; `None`: anywhere.
    pub allowed_ips: Option<AddressList>,
    /// The API version that it is pinned to; empty when none.
    pub api_version: String,
    /// Since when it is in its rotation grace.
    pub rotated_at: Option<UnixMillis>,
    /// A lower limit than the tier's for this end customer.
    pub customer_limits: Option<Limits>,
}

/// One record of a change or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An account as it now is.
    Account(AccountRecord),
    /// A key as it now is.
    Key(KeyRecord),
}

/// Why a record can't be put in force. Names the field, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{record}: {reason}")]
pub struct InvalidRecord {
    /// Which record, such as `key 0190…`.
    pub record: String,
    /// What is wrong with it.
    pub reason: String,
}

mod wire;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::feed;

    fn sample() -> KeyRecord {
        KeyRecord {
            digest: KeyDigest::from_bytes([7; 32]),
            id: KeyId::new(),
            account: AccountId::new(),
            environment: Environment::Production,
            customer: "clx8f2k9h0001qr5tgvwxyz12".parse().ok(),
            state: KeyState::Active,
            expires_at: Some(UnixMillis(5)),
            allowed_ips: AddressList::parse(&["192.0.2.0/24", "2001:db8::1"]).ok(),
            api_version: "2026-11-01".into(),
            rotated_at: None,
            customer_limits: Some(Limits { rate: 5, burst: 10 }),
        }
    }

    #[test]
    fn records_survive_the_wire() {
        let key = Record::Key(sample());
        assert_eq!(Record::try_from(feed::Record::from(&key)).unwrap(), key);
        let account = Record::Account(sample_account());
        assert_eq!(Record::try_from(feed::Record::from(&account)).unwrap(), account);
    }

    #[track_caller]
    fn check_key(reason: &str, change: impl FnOnce(&mut feed::Key)) {
        let mut wire = feed::Key::from(&sample());
        change(&mut wire);
        assert_eq!(KeyRecord::try_from(wire).unwrap_err().reason, reason);
    }

    #[test]
    fn a_key_with_a_field_that_can_not_be_is_refused_by_its_name() {
        check_key("digest is not 32 bytes", |key| key.digest.clear());
        check_key("digest is blank", |key| key.digest.fill(0));
        check_key("key_id is not a key id (UUID)", |key| key.key_id.clear());
        check_key("key_id is blank", |key| key.key_id.fill(0));
        check_key("account_id is not an account id (UUID)", |key| {
            key.account_id.clear()
        });
        check_key("account_id is blank", |key| key.account_id.fill(0));
        check_key("unknown environment 0", |key| key.environment = 0);
        check_key("unknown state 0", |key| key.state = 0);
        check_key("unknown state 99", |key| key.state = 99);
        check_key(
            "customer_id is not an end customer id (c and 24 of 0-9a-z)",
            |key| {
                key.customer_id = "x".repeat(1 << 20);
            },
        );
        let longer = "api_version is not at most 32 visible ASCII characters";
        check_key(longer, |key| key.api_version = "1".repeat(33));
        check_key(longer, |key| key.api_version = "a\nb".into());
        check_key("customer_limits.rate is 0", |key| {
            key.customer_limits = Some(feed::Limits { rate: 0, burst: 1 });
        });
        check_key("customer_limits.burst is 0", |key| {
            key.customer_limits = Some(feed::Limits { rate: 1, burst: 0 });
        });
        check_key(
            "allowed_ips: `` is no IPv4 or IPv6 address or CIDR block",
            |key| {
                key.allowed_ips = vec![String::new()];
            },
        );
        check_key("allowed_ips: at most 100 entries", |key| {
            key.allowed_ips = (0..=255).map(|last| format!("192.0.2.{last}")).collect();
        });
        let empty = Record::try_from(feed::Record { record: None }).unwrap_err();
        assert_eq!(empty.to_string(), "record: is of no known kind");
    }

    fn sample_account() -> AccountRecord {
        AccountRecord {
            id: AccountId::new(),
            status: AccountStatus::Suspended,
            tier: "growth".into(),
            limits: Limits {
                rate: 100,
                burst: 200,
            },
            annual_limit: 10_000_000,
            contract: Contract {
                start: Some(UnixMillis(1)),
                end: None,
            },
            test_environment: EnvironmentId::random().unwrap(),
            production_environment: EnvironmentId::random().unwrap(),
            limit_mode: LimitMode::Shadow,
            fallback: Some(Fallback::Deny),
            grants: vec![Grant {
                at: UnixMillis(3),
                validations: 10,
            }],
        }
    }

    #[track_caller]
    fn check_account(reason: &str, change: impl FnOnce(&mut feed::Account)) {
        let mut wire = feed::Account::from(&sample_account());
        change(&mut wire);
        assert_eq!(AccountRecord::try_from(wire).unwrap_err().reason, reason);
    }

    #[test]
    fn an_account_with_a_field_that_can_not_be_is_refused_by_its_name() {
        check_account("account_id is not an account id (UUID)", |account| {
            account.account_id.clear();
        });
        check_account("account_id is blank", |account| account.account_id.fill(0));
        check_account("unknown status 0", |account| account.status = 0);
        let tier = "tier is not 1 to 64 visible ASCII characters";
        check_account(tier, |account| account.tier.clear());
        check_account(tier, |account| account.tier = "t".repeat(65));
        check_account("limits is missing", |account| account.limits = None);
        check_account("limits.rate is 0", |account| {
            account.limits = Some(feed::Limits { rate: 0, burst: 1 });
        });
        check_account("limits.burst is 0", |account| {
            account.limits = Some(feed::Limits { rate: 1, burst: 0 });
        });
        check_account("annual_limit is 0", |account| account.annual_limit = 0);
        check_account("annual_limit is 18446744073709551615", |account| {
            account.annual_limit = u64::MAX;
        });
        check_account(
            "test_environment_id is not an environment id (8 bytes)",
            |account| account.test_environment_id.clear(),
        );
        check_account("production_environment_id is blank", |account| {
            account.production_environment_id.fill(0);
        });
        check_account(
            "test_environment_id and production_environment_id are one",
            |account| account.test_environment_id = account.production_environment_id.clone(),
        );
        check_account("unknown limit mode 7", |account| account.limit_mode = 7);
        check_account("unknown fallback 7", |account| account.fallback = 7);
        check_account("grants.validations is 0", |account| {
            account.grants[0].validations = 0
        });
        check_account("grants has 10001 entries", |account| {
            account.grants = vec![account.grants[0]; 10_001];
        });
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_record_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(wire) = feed::Record::decode(bytes.as_slice()) {
                let _ = Record::try_from(wire);
            }
        }

        #[test]
        fn no_mutation_of_a_record_panics(at in 0usize..200, to in any::<u8>()) {
            let mut bytes = feed::Record::from(&Record::Key(sample())).encode_to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(wire) = feed::Record::decode(bytes.as_slice()) {
                let _ = Record::try_from(wire);
            }
        }
    }
}
