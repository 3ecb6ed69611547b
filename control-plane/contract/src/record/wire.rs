//! Records as they travel, and what of that can be true.

use crate::address::AddressList;
use crate::digest::KeyDigest;
use crate::feed;
use crate::id::{AccountId, CustomerId, EnvironmentId, KeyId, MalformedId};
use crate::key::Environment;
use crate::period::UnixMillis;

use super::*;

impl TryFrom<feed::Record> for Record {
    type Error = InvalidRecord;

    fn try_from(wire: feed::Record) -> Result<Self, InvalidRecord> {
        match wire.record {
            Some(feed::record::Record::Account(account)) => account.try_into().map(Self::Account),
            Some(feed::record::Record::Key(key)) => key.try_into().map(Self::Key),
            None => Err(InvalidRecord {
                record: "record".into(),
                reason: "is of no known kind".into(),
            }),
        }
    }
}

impl From<&Record> for feed::Record {
    fn from(record: &Record) -> Self {
        let record = match record {
            Record::Account(account) => feed::record::Record::Account(account.into()),
            Record::Key(key) => feed::record::Record::Key(key.into()),
        };
        Self { record: Some(record) }
    }
}

impl TryFrom<feed::Account> for AccountRecord {
    type Error = InvalidRecord;

    fn try_from(wire: feed::Account) -> Result<Self, InvalidRecord> {
        let name = || format!("account {}", named(&wire.account_id));
        let invalid = |reason: String| InvalidRecord {
            record: name(),
            reason,
        };
        let id = id_of("account_id", &wire.account_id, AccountId::from_slice).map_err(&invalid)?;
        let status = match wire.status() {
            feed::AccountStatus::Active => AccountStatus::Active,
            feed::AccountStatus::Suspended => AccountStatus::Suspended,
            feed::AccountStatus::Cancelled => AccountStatus::Cancelled,
            feed::AccountStatus::Unspecified => {
                return Err(invalid(format!("unknown status {}", wire.status)));
            }
        };
        let [test_environment, production_environment] = [
            ("test_environment_id", &wire.test_environment_id),
            ("production_environment_id", &wire.production_environment_id),
        ]
        .map(|(field, bytes)| id_of(field, bytes, EnvironmentId::from_slice));
        let (test_environment, production_environment) = (
            test_environment.map_err(&invalid)?,
            production_environment.map_err(&invalid)?,
        );
        if test_environment == production_environment {
            return Err(invalid(
                "test_environment_id and production_environment_id are one".into(),
            ));
        }
        let limit_mode = match feed::LimitMode::try_from(wire.limit_mode) {
            Ok(feed::LimitMode::Enforce) => LimitMode::Enforce,
            Ok(feed::LimitMode::Shadow) => LimitMode::Shadow,
            Err(_) => return Err(invalid(format!("unknown limit mode {}", wire.limit_mode))),
        };
        let fallback = match feed::Fallback::try_from(wire.fallback) {
            Ok(feed::Fallback::OfGateway) => None,
            Ok(feed::Fallback::Share) => Some(Fallback::Share),
            Ok(feed::Fallback::Allow) => Some(Fallback::Allow),
            Ok(feed::Fallback::Deny) => Some(Fallback::Deny),
            Err(_) => return Err(invalid(format!("unknown fallback {}", wire.fallback))),
        };
        if wire.tier.is_empty() || wire.tier.len() > 64 || !wire.tier.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(invalid("tier is not 1 to 64 visible ASCII characters".into()));
        }
        if !(1..=LARGEST_COUNT).contains(&wire.annual_limit) {
            return Err(invalid(format!("annual_limit is {}", wire.annual_limit)));
        }
        if wire.grants.len() > MOST_GRANTS {
            return Err(invalid(format!("grants has {} entries", wire.grants.len())));
        }
        let is_count = |grant: &feed::Grant| (1..=LARGEST_COUNT).contains(&grant.validations);
        if let Some(grant) = wire.grants.iter().find(|grant| !is_count(grant)) {
            return Err(invalid(format!("grants.validations is {}", grant.validations)));
        }
        Ok(Self {
            id,
            status,
            limits: limits("limits", wire.limits.as_ref())
                .map_err(&invalid)?
                .ok_or_else(|| invalid("limits is missing".into()))?,
            annual_limit: wire.annual_limit,
            contract: Contract {
                start: wire.contract_start_ms.map(UnixMillis),
                end: wire.contract_end_ms.map(UnixMillis),
            },
            test_environment,
            production_environment,
            limit_mode,
            fallback,
            grants: wire.grants.iter().map(Grant::from).collect(),
            tier: wire.tier,
        })
    }
}

impl From<&AccountRecord> for feed::Account {
    fn from(account: &AccountRecord) -> Self {
        let status = match account.status {
            AccountStatus::Active => feed::AccountStatus::Active,
            AccountStatus::Suspended => feed::AccountStatus::Suspended,
            AccountStatus::Cancelled => feed::AccountStatus::Cancelled,
        };
        Self {
            account_id: account.id.as_uuid().as_bytes().to_vec(),
            status: status.into(),
            tier: account.tier.clone(),
            limits: Some(account.limits.into()),
            annual_limit: account.annual_limit,
            contract_start_ms: account.contract.start.map(|at| at.0),
            contract_end_ms: account.contract.end.map(|at| at.0),
            test_environment_id: account.test_environment.as_bytes().to_vec(),
            production_environment_id: account.production_environment.as_bytes().to_vec(),
            limit_mode: feed::LimitMode::from(account.limit_mode).into(),
            fallback: feed::Fallback::from(account.fallback).into(),
            grants: account.grants.iter().map(feed::Grant::from).collect(),
        }
    }
}

impl From<LimitMode> for feed::LimitMode {
    fn from(mode: LimitMode) -> Self {
        match mode {
            LimitMode::Enforce => Self::Enforce,
            LimitMode::Shadow => Self::Shadow,
        }
    }
}

impl From<Option<Fallback>> for feed::Fallback {
    fn from(fallback: Option<Fallback>) -> Self {
        match fallback {
            None => Self::OfGateway,
            Some(Fallback::Share) => Self::Share,
            Some(Fallback::Allow) => Self::Allow,
            Some(Fallback::Deny) => Self::Deny,
        }
    }
}

impl From<&feed::Grant> for Grant {
    fn from(wire: &feed::Grant) -> Self {
        Self {
            at: UnixMillis(wire.at_ms),
            validations: wire.validations,
        }
    }
}

impl From<&Grant> for feed::Grant {
    fn from(grant: &Grant) -> Self {
        Self {
            at_ms: grant.at.0,
            validations: grant.validations,
        }
    }
}

impl TryFrom<feed::Key> for KeyRecord {
    type Error = InvalidRecord;

    fn try_from(wire: feed::Key) -> Result<Self, InvalidRecord> {
        let name = || format!("key {}", named(&wire.key_id));
        let invalid = |reason: String| InvalidRecord {
            record: name(),
            reason,
        };
        let digest: [u8; 32] = wire
            .digest
            .as_slice()
            .try_into()
            .map_err(|_| invalid("digest is not 32 bytes".into()))?;
        if digest == [0; 32] {
            return Err(invalid("digest is blank".into()));
        }
        let environment = match wire.environment() {
            feed::Environment::Test => Environment::Test,
            feed::Environment::Production => Environment::Production,
            feed::Environment::Unspecified => {
                return Err(invalid(format!("unknown environment {}", wire.environment)));
            }
        };
        let state = match wire.state() {
            feed::KeyState::Active => KeyState::Active,
            feed::KeyState::Disabled => KeyState::Disabled,
            feed::KeyState::Revoked => KeyState::Revoked,
            feed::KeyState::Deleted => KeyState::Deleted,
            feed::KeyState::Unspecified => return Err(invalid(format!("unknown state {}", wire.state))),
        };
        let customer = match wire.customer_id.as_str() {
            "" => None,
            id => Some(
                id.parse::<CustomerId>()
                    .map_err(|error| invalid(format!("customer_id is {error}")))?,
            ),
        };
        let allowed_ips = match wire.allowed_ips.as_slice() {
            [] => None,
            entries => {
                Some(AddressList::parse(entries).map_err(|error| invalid(format!("allowed_ips: {error}")))?)
            }
        };
        if wire.api_version.len() > 32 || !wire.api_version.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(invalid(
                "api_version is not at most 32 visible ASCII characters".into(),
            ));
        }
        Ok(Self {
            digest: KeyDigest::from_bytes(digest),
            id: id_of("key_id", &wire.key_id, KeyId::from_slice).map_err(&invalid)?,
            account: id_of("account_id", &wire.account_id, AccountId::from_slice).map_err(&invalid)?,
            environment,
            customer,
            state,
            expires_at: wire.expires_at_ms.map(UnixMillis),
            allowed_ips,
            customer_limits: limits("customer_limits", wire.customer_limits.as_ref()).map_err(invalid)?,
            rotated_at: wire.rotated_at_ms.map(UnixMillis),
            api_version: wire.api_version,
        })
    }
}

impl From<&KeyRecord> for feed::Key {
    fn from(key: &KeyRecord) -> Self {
        let state = match key.state {
            KeyState::Active => feed::KeyState::Active,
            KeyState::Disabled => feed::KeyState::Disabled,
            KeyState::Revoked => feed::KeyState::Revoked,
            KeyState::Deleted => feed::KeyState::Deleted,
        };
        Self {
            digest: key.digest.as_bytes().to_vec(),
            key_id: key.id.as_uuid().as_bytes().to_vec(),
            account_id: key.account.as_uuid().as_bytes().to_vec(),
            environment: feed::Environment::from(key.environment).into(),
            customer_id: key.customer.map(|id| id.to_string()).unwrap_or_default(),
            state: state.into(),
            expires_at_ms: key.expires_at.map(|at| at.0),
            allowed_ips: key
                .allowed_ips
                .as_ref()
                .map(AddressList::to_strings)
                .unwrap_or_default(),
            api_version: key.api_version.clone(),
            rotated_at_ms: key.rotated_at.map(|at| at.0),
            customer_limits: key.customer_limits.map(Into::into),
        }
    }
}

impl From<Environment> for feed::Environment {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Test => Self::Test,
            Environment::Production => Self::Production,
        }
    }
}

impl From<Limits> for feed::Limits {
    fn from(limits: Limits) -> Self {
        Self {
            rate: limits.rate,
            burst: limits.burst,
        }
    }
}

fn limits(field: &str, wire: Option<&feed::Limits>) -> Result<Option<Limits>, String> {
    match wire {
        Some(feed::Limits { rate: 0, .. }) => Err(format!("{field}.rate is 0")),
        Some(feed::Limits { burst: 0, .. }) => Err(format!("{field}.burst is 0")),
        Some(limits) => Ok(Some(Limits {
            rate: limits.rate,
            burst: limits.burst,
        })),
        None => Ok(None),
    }
}

/// An id that says something.
fn id_of<T>(field: &str, bytes: &[u8], read: fn(&[u8]) -> Result<T, MalformedId>) -> Result<T, String> {
    let id = read(bytes).map_err(|error| format!("{field} is {error}"))?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(format!("{field} is blank"));
    }
    Ok(id)
}

/// An id for a message about a record that may be broken.
fn named(bytes: &[u8]) -> String {
    uuid::Uuid::from_slice(bytes).map_or_else(|_| "of no id".into(), |id| id.to_string())
}
