//! How the admin API writes accounts, keys and tiers, and reads their fields.

use keyward_config::Tier;
use keyward_contract::{AccountStatus, AddressList, Contract, KeyState, UnixMillis};
use serde_json::{Value, json};

use crate::domain::account::{Account, EnvironmentSettings, status_as_str};
use crate::domain::key::ApiKey;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::tier::{MAX_WHOLE_NUMBER, Overrides};
use crate::operations::accounts::Found;
use crate::surfaces::fields::{Fields, Given};

/// How the id of an account's key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyIdShown {
    /// In clear, in the answer to its making.
    Clear,
    /// As `abc***xyz`.
    Masked,
}

/// An account.
#[must_use]
pub fn customer(found: &Found, shown: KeyIdShown) -> Value {
    let account = &found.account;
    let api_key_id = found.api_key_id.as_deref().map(|id| match shown {
        KeyIdShown::Clear => id.to_owned(),
        KeyIdShown::Masked => masked(id),
    });
    let mut customer = json!({
        "customer_id": account.id,
        "company_name": account.company_name,
        "contact_email": account.contact_email,
        "tier": account.tier,
        "status": status_as_str(account.status),
        "api_key_id": api_key_id,
        "annual_commitment": found.annual_price,
        "annual_validation_limit": account.annual_limit,
        "contract_start": account.contract.start.map(|at| at.date().to_string()),
        "contract_end": account.contract.end.map(|at| moment::last_day(at).to_string()),
        "metadata": account.metadata.as_map(),
        "created_at": account.created_at.to_rfc3339_seconds(),
        "updated_at": account.updated_at.to_rfc3339_seconds(),
    });
    if let (Some(overrides), Some(customer)) = (account.overrides, customer.as_object_mut()) {
        customer.insert("overrides".into(), json!(overrides));
    }
    customer
}

/// The environments of an account.
#[must_use]
pub fn environments(account: &Account) -> Value {
    account
        .environments
        .both()
        .into_iter()
        .map(|(kind, settings)| environment(kind, settings))
        .collect()
}

/// One environment of an account.
#[must_use]
pub fn environment(kind: keyward_contract::Environment, settings: EnvironmentSettings) -> Value {
    json!({"environment_id": settings.id, "kind": kind, "user_key_limit": settings.user_key_limit})
}

/// A key, as its account's status makes it.
#[must_use]
pub fn key(key: &ApiKey, account: AccountStatus, last_used_at: Option<UnixMillis>, now: UnixMillis) -> Value {
    json!({
        "api_key_id": key.id,
        "customer_id": key.account,
        "name": key.name,
        "environment": key.environment,
        "status": key_status(key, account, now),
        "mask": key.mask,
        "allowed_ips": key.allowed_ips.as_ref().map(AddressList::to_strings),
        "created_at": key.created_at.to_rfc3339_seconds(),
        "expires_at": key.expires_at.map(UnixMillis::to_rfc3339_seconds),
        "revoked_at": key.revoked_at.map(UnixMillis::to_rfc3339_seconds),
        "last_used_at": last_used_at.map(UnixMillis::to_rfc3339_seconds),
    })
}

fn key_status(key: &ApiKey, account: AccountStatus, now: UnixMillis) -> &'static str {
    match (account, key.state) {
        (AccountStatus::Cancelled, _) | (_, KeyState::Revoked | KeyState::Deleted) => "revoked",
        // Its grace is over: the rotation has revoked it.
        (_, KeyState::Active) if key.is_expired(now) && key.rotated_at.is_some() => "revoked",
        (_, KeyState::Active) if key.is_expired(now) => "expired",
        (_, KeyState::Active) => "active",
        (_, KeyState::Disabled) => "disabled",
    }
}

/// A tier.
#[must_use]
pub fn tier(tier: &Tier) -> Value {
    json!({
        "tier": tier.key,
        "name": tier.name,
        "annual_price": tier.annual_price,
        "annual_limit": tier.annual_limit,
        "rate_limit": tier.rate_limit,
        "burst_limit": tier.burst_limit,
        "sla": tier.sla,
    })
}

/// What was negotiated, as it was sent.
///
/// # Errors
/// When a number is none, or zero where it must not be.
pub fn overrides(fields: &Fields) -> Result<Given<Overrides>, InvalidField> {
    fields.object("overrides")?.read(|object| {
        let fields = Fields::new(object.clone());
        Ok(Overrides {
            annual_price: number(&fields, "annual_price", 0..=MAX_WHOLE_NUMBER)?,
            annual_limit: number(&fields, "annual_limit", 1..=MAX_WHOLE_NUMBER)?,
            rate_limit: number(&fields, "rate_limit", 1..=u64::from(u32::MAX))?
                .and_then(|n| n.try_into().ok()),
            burst_limit: number(&fields, "burst_limit", 1..=u64::from(u32::MAX))?
                .and_then(|n| n.try_into().ok()),
        })
    })
}

fn number(
    fields: &Fields,
    field: &'static str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, InvalidField> {
    let given = fields.whole_number(field).map_err(|error| inside(&error))?;
    match given.or_null() {
        Some(number) if !range.contains(&number) => Err(inside(&InvalidField::new(
            field,
            format!("must be a whole number from {} to {}", range.start(), range.end()),
        ))),
        number => Ok(number),
    }
}

fn inside(error: &InvalidField) -> InvalidField {
    InvalidField::new(format!("overrides.{}", error.field), error.reason.clone())
}

/// The first instant of a contract, as it was sent.
///
/// # Errors
/// When it is no date.
pub fn contract_start(fields: &Fields) -> Result<Given<UnixMillis>, InvalidField> {
    fields
        .text("contract_start")?
        .read(|text| moment::date("contract_start", text).map(UnixMillis::start_of))
}

/// The first instant after a contract, as its last day was sent.
///
/// # Errors
/// When it is no date.
pub fn contract_end(fields: &Fields) -> Result<Given<UnixMillis>, InvalidField> {
    fields
        .text("contract_end")?
        .read(|text| moment::date("contract_end", text).map(moment::end_of))
}

/// A whole contract, as it was sent.
///
/// # Errors
/// When one of its days is no date.
pub fn contract(fields: &Fields) -> Result<Contract, InvalidField> {
    Ok(Contract {
        start: contract_start(fields)?.or_null(),
        end: contract_end(fields)?.or_null(),
    })
}

fn masked(id: &str) -> String {
    let head = id.get(..3).unwrap_or_default();
    let tail = id.get(id.len().saturating_sub(3)..).unwrap_or_default();
    format!("{head}***{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_id_shows_three_characters_at_each_end() {
        assert_eq!(masked("0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"), "019***d7e");
    }
}
