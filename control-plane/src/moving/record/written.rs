//! How things are written as lines that `record` reads again.

use keyward_config::Tier;
use keyward_contract::{AddressList, UnixMillis};
use serde_json::{Value, json};

use super::{Digests, VERSION};
use crate::domain::account::{Account, EnvironmentSettings, status_as_str};
use crate::domain::customer::EndCustomer;
use crate::domain::key::{ApiKey, state_as_str};
use crate::domain::moment;
use crate::domain::user::User;
use crate::operations::export::Exported;
use crate::surfaces::admin::wire;

/// What an export says of itself.
pub(in crate::moving) fn head(digest_key: Option<String>) -> Value {
    json!({"kind": "export", "version": VERSION, "digest_key": digest_key})
}

/// A tier of the catalogue.
pub(in crate::moving) fn tier(tier: &Tier) -> Value {
    // Numbers and texts alone: writing them can't fail.
    let mut fields = serde_json::to_value(wire::tier(tier)).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("kind".into(), "tier".into());
    }
    fields
}

/// One thing, as it can be read again.
pub(in crate::moving) fn written(thing: &Exported, digests: Digests) -> Value {
    match thing {
        Exported::Account(account) => account_written(account),
        Exported::User(user, deleted_at) => user_written(user, *deleted_at),
        Exported::EndCustomer(customer, deleted_at) => end_customer_written(customer, *deleted_at),
        Exported::Key(key) => key_written(key, digests),
    }
}

fn account_written(account: &Account) -> Value {
    let EnvironmentSettings { id, user_key_limit } = account.environments.test;
    let production = account.environments.production;
    json!({
        "kind": "customer",
        "ref": account.id,
        "id": account.id,
        "company_name": account.company_name,
        "contact_email": account.contact_email,
        "tier": account.tier,
        "status": status_as_str(account.status),
        "contract_start": account.contract.start.map(|at| at.date().to_string()),
        "contract_end": account.contract.end.map(|at| moment::last_day(at).to_string()),
        "metadata": account.metadata.as_map(),
        "overrides": account.overrides,
        "sandbox": false,
        "test_environment_id": id,
        "test_user_key_limit": user_key_limit,
        "production_environment_id": production.id,
        "production_user_key_limit": production.user_key_limit,
        "created_at": account.created_at.to_rfc3339_millis(),
        "updated_at": account.updated_at.to_rfc3339_millis(),
    })
}

fn user_written(user: &User, deleted_at: Option<UnixMillis>) -> Value {
    json!({
        "kind": "user",
        "ref": user.id,
        "id": user.id,
        "customer": user.account,
        "sub": user.sub,
        "name": user.name,
        "email": user.email,
        "claims": user.claims,
        "permissions": user.permissions.names(),
        "created_at": user.created_at.to_rfc3339_millis(),
        "updated_at": user.updated_at.to_rfc3339_millis(),
        "deleted_at": deleted_at.map(UnixMillis::to_rfc3339_millis),
    })
}

fn end_customer_written(customer: &EndCustomer, deleted_at: Option<UnixMillis>) -> Value {
    json!({
        "kind": "end_customer",
        "ref": customer.id,
        "id": customer.id,
        "customer": customer.account,
        "environment": customer.environment,
        "name": customer.name,
        "rate_limit": customer.limits.map(|limits| limits.rate),
        "burst_limit": customer.limits.map(|limits| limits.burst),
        "created_at": customer.created_at.to_rfc3339_millis(),
        "updated_at": customer.updated_at.to_rfc3339_millis(),
        "deleted_at": deleted_at.map(UnixMillis::to_rfc3339_millis),
    })
}

fn key_written(key: &ApiKey, digests: Digests) -> Value {
    let digest = (digests == Digests::Included).then(|| hex::encode(key.digest.as_bytes()));
    let version = key.api_version.version.as_str();
    let instant = |at: Option<UnixMillis>| at.map(UnixMillis::to_rfc3339_millis);
    json!({
        "kind": "api_key",
        "ref": key.id,
        "id": key.id,
        "customer": key.account,
        "end_customer": key.customer,
        "user": key.user,
        "environment": key.environment,
        "digest": digest,
        "mask": key.mask,
        "name": key.name,
        "status": state_as_str(key.state),
        "origin": key.origin.as_str(),
        "expires_at": instant(key.expires_at),
        "allowed_ips": key.allowed_ips.as_ref().map(AddressList::to_strings),
        "api_version": (!version.is_empty()).then_some(version),
        "api_version_changed_at": key.api_version.changed_at.to_rfc3339_millis(),
        "no_downgrade_after": instant(key.api_version.no_downgrade_after),
        "rotated_at": instant(key.rotated_at),
        "held_at": instant(key.held_at),
        "created_by": key.created_by,
        "created_at": key.created_at.to_rfc3339_millis(),
        "updated_at": key.updated_at.to_rfc3339_millis(),
        "revoked_at": instant(key.revoked_at),
        "deleted_at": instant(key.deleted_at),
    })
}
