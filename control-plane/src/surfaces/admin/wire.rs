//! How the admin API writes accounts, keys and tiers, and reads their fields.

use keyward_config::Tier as CatalogueTier;
use keyward_contract::{
    AccountId, AccountStatus, AddressList, Contract, Environment as Kind, EnvironmentId, KeyId, KeyState,
    UnixMillis,
};
use serde::Serialize;
use utoipa::ToSchema;

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
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e", "company_name": "Acme Financial",
    "contact_email": "ops@acme.example", "tier": "growth", "status": "active", "api_key_id": "019***d7f",
    "annual_commitment": 250_000, "annual_validation_limit": 10_000_000, "contract_start": null,
    "contract_end": null, "metadata": {}, "created_at": "2026-01-19T10:30:00Z",
    "updated_at": "2026-01-19T10:30:00Z",
}))]
pub struct Customer {
    #[schema(value_type = String, format = "uuid")]
    customer_id: AccountId,
    #[schema(min_length = 1, max_length = 255)]
    company_name: String,
    contact_email: String,
    /// The key of its tier in the catalogue.
    tier: String,
    #[schema(pattern = "^(active|suspended|cancelled)$")]
    status: &'static str,
    /// Its oldest living production key: masked, but in the answer to its making.
    #[schema(required = true)]
    api_key_id: Option<String>,
    /// What its tier costs a year, in USD.
    #[schema(required = true)]
    annual_commitment: Option<u64>,
    annual_validation_limit: u64,
    /// The first day.
    #[schema(format = Date, required = true)]
    contract_start: Option<String>,
    /// The last day.
    #[schema(format = Date, required = true)]
    contract_end: Option<String>,
    /// Notes of the operator's own.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    metadata: serde_json::Map<String, serde_json::Value>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// What was negotiated instead of the tier's numbers; only on the custom tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = OverridesShown)]
    overrides: Option<Overrides>,
}

/// What was negotiated.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Overrides)]
pub struct OverridesShown {
    /// USD.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    pub annual_price: Option<u64>,
    /// Validations a contract year.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub annual_limit: Option<u64>,
    /// Calls a second.
    #[schema(minimum = 1, maximum = 4_294_967_295_i64)]
    pub rate_limit: Option<u32>,
    /// Calls at once.
    #[schema(minimum = 1, maximum = 4_294_967_295_i64)]
    pub burst_limit: Option<u32>,
}

/// An account as it is written.
#[must_use]
pub fn customer(found: &Found, shown: KeyIdShown) -> Customer {
    let account = &found.account;
    let api_key_id = found.api_key_id.as_deref().map(|id| match shown {
        KeyIdShown::Clear => id.to_owned(),
        KeyIdShown::Masked => masked(id),
    });
    Customer {
        customer_id: account.id,
        company_name: account.company_name.to_string(),
        contact_email: account.contact_email.clone(),
        tier: account.tier.clone(),
        status: status_as_str(account.status),
        api_key_id,
        annual_commitment: found.annual_price,
        annual_validation_limit: account.annual_limit,
        contract_start: account.contract.start.map(|at| at.date().to_string()),
        contract_end: account.contract.end.map(|at| moment::last_day(at).to_string()),
        metadata: account.metadata.as_map().clone(),
        created_at: account.created_at.to_rfc3339_seconds(),
        updated_at: account.updated_at.to_rfc3339_seconds(),
        overrides: account.overrides,
    }
}

/// One environment of an account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"environment_id": "9f86d081884c7d65", "kind": "production", "user_key_limit": 20}))]
pub struct Environment {
    #[schema(value_type = String, pattern = "^[0-9a-f]{16}$")]
    environment_id: EnvironmentId,
    #[schema(value_type = String, pattern = "^(test|production)$")]
    kind: Kind,
    /// How many keys its users may have made on surface 4.
    #[schema(minimum = 0, maximum = 100_000)]
    user_key_limit: u32,
}

/// The environments of an account.
#[must_use]
pub fn environments(account: &Account) -> Vec<Environment> {
    let both = account.environments.both().into_iter();
    both.map(|(kind, settings)| environment(kind, settings)).collect()
}

/// One environment as it is written.
#[must_use]
pub fn environment(kind: Kind, settings: EnvironmentSettings) -> Environment {
    Environment {
        environment_id: settings.id,
        kind,
        user_key_limit: settings.user_key_limit,
    }
}

/// An account key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f", "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "name": "ci", "environment": "production", "status": "active", "mask": "pk_live_4f…9aZ",
    "allowed_ips": null, "created_at": "2026-01-19T10:30:00Z", "expires_at": null, "revoked_at": null,
    "last_used_at": null,
}))]
pub struct Key {
    #[schema(value_type = String, format = "uuid")]
    api_key_id: KeyId,
    #[schema(value_type = String, format = "uuid")]
    customer_id: AccountId,
    #[schema(required = true)]
    name: Option<String>,
    #[schema(value_type = String, pattern = "^(test|production)$")]
    environment: Kind,
    #[schema(pattern = "^(active|disabled|expired|revoked)$")]
    status: &'static str,
    /// What may be shown of it.
    mask: String,
    /// The addresses from which it may be used; null: from all.
    #[schema(required = true)]
    allowed_ips: Option<Vec<String>>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
    #[schema(format = DateTime, required = true)]
    revoked_at: Option<String>,
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
}

/// A key as its account's status makes it.
#[must_use]
pub fn key(key: &ApiKey, account: AccountStatus, last_used_at: Option<UnixMillis>, now: UnixMillis) -> Key {
    Key {
        api_key_id: key.id,
        customer_id: key.account,
        name: key.name.as_ref().map(ToString::to_string),
        environment: key.environment,
        status: key_status(key, account, now),
        mask: key.mask.to_string(),
        allowed_ips: key.allowed_ips.as_ref().map(AddressList::to_strings),
        created_at: key.created_at.to_rfc3339_seconds(),
        expires_at: key.expires_at.map(UnixMillis::to_rfc3339_seconds),
        revoked_at: key.revoked_at.map(UnixMillis::to_rfc3339_seconds),
        last_used_at: last_used_at.map(UnixMillis::to_rfc3339_seconds),
    }
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

/// A tier of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "tier": "growth", "name": "Growth", "annual_price": 250_000, "annual_limit": 10_000_000,
    "rate_limit": 100, "burst_limit": 200, "sla": "99.95%",
}))]
pub struct Tier {
    tier: String,
    name: String,
    /// USD.
    annual_price: u64,
    /// Validations a contract year.
    annual_limit: u64,
    /// Calls a second.
    rate_limit: u32,
    /// Calls at once.
    burst_limit: u32,
    sla: String,
}

/// A tier as it is written.
#[must_use]
pub fn tier(tier: &CatalogueTier) -> Tier {
    Tier {
        tier: tier.key.clone(),
        name: tier.name.clone(),
        annual_price: tier.annual_price,
        annual_limit: tier.annual_limit,
        rate_limit: tier.rate_limit,
        burst_limit: tier.burst_limit,
        sla: tier.sla.clone(),
    }
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

/// From which addresses a key may be used.
///
/// # Errors
/// When an entry is no address and no network, or there are too many.
pub fn allowed_ips(fields: &Fields) -> Result<Given<AddressList>, InvalidField> {
    fields.texts("allowed_ips")?.read(|entries| {
        AddressList::parse(&entries).map_err(|error| InvalidField::new("allowed_ips", error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_id_shows_three_characters_at_each_end() {
        assert_eq!(masked("0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"), "019***d7e");
    }
}
