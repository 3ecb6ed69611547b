//! Account keys, as operators manage them.

use std::collections::HashMap;
use std::time::Duration;

use keyward_contract::{
    AccountId, AccountStatus, AddressList, Environment, KeyId, KeyKind, PlainKey, Record, UnixMillis,
};
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::account::Account;
use crate::domain::key::{ApiKey, Draft, Made, Origin, state_as_str};
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::store::{accounts, keys, usage};

/// What an operator says of a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What it is called.
    pub name: Option<Name>,
    /// Where it is valid.
    pub environment: Environment,
    /// The first instant at which it is dead.
    pub expires_at: Option<UnixMillis>,
    /// Where it may be used from.
    pub allowed_ips: Option<AddressList>,
}

/// An account's keys, and whether the account is gone.
#[derive(Debug)]
pub struct Listed {
    /// Whose they are.
    pub account: Account,
    /// The keys, newest first.
    pub keys: Vec<ApiKey>,
    /// When each was last used.
    pub last_used: HashMap<KeyId, UnixMillis>,
    /// When this was read.
    pub now: UnixMillis,
}

/// A key that took another's place.
#[derive(Debug)]
pub struct Rotated {
    /// The new key.
    pub key: ApiKey,
    /// Its text.
    pub plain: PlainKey,
    /// The key that it replaces.
    pub old: KeyId,
    /// When that one dies.
    pub old_dies_at: UnixMillis,
}

/// Makes an account key. Its text is in the answer and nowhere else.
///
/// # Errors
/// When the account isn't there or isn't active, the expiry is over, or the database fails.
pub async fn create(
    registry: &Registry,
    actor: &Actor,
    account: AccountId,
    wanted: NewKey,
) -> Result<Changed<(ApiKey, PlainKey)>> {
    let mut change = Change::begin(registry, actor).await?;
    let account = active(&mut change, account).await?;
    if wanted.expires_at.is_some_and(|at| at <= change.now) {
        return Err(InvalidField::new("expires_at", "must be in the future").into());
    }
    let (key, plain) = issue(registry, &mut change, &account, wanted).await?;
    let entry = entry("key.created", &key, None, Some(remembered(&key)));
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    Ok(Changed {
        value: (key, plain),
        settled,
    })
}

/// Makes and stores an account key inside a change.
pub(super) async fn issue(
    registry: &Registry,
    change: &mut Change<'_>,
    account: &Account,
    wanted: NewKey,
) -> Result<(ApiKey, PlainKey)> {
    let minted = registry.mint(KeyKind::Account, wanted.environment)?;
    let by = change.actor_id().to_owned();
    let draft = Draft {
        plain: &minted.plain,
        digest: minted.digest,
        account: account.id,
        environment: wanted.environment,
        customer: None,
        origin: Origin::Admin,
        api_version: registry.newest_api_version(),
        created_by: &by,
    };
    let mut key = draft.issue(change.now);
    key.name = wanted.name;
    key.expires_at = wanted.expires_at;
    key.allowed_ips = wanted.allowed_ips;
    keys::insert(&mut change.tx, &mut key).await?;
    Ok((key, minted.plain))
}

/// Every account key of an account.
///
/// # Errors
/// When the account isn't there or the database fails.
pub async fn list(registry: &Registry, account: AccountId) -> Result<Listed> {
    let pool = registry.store.readers();
    let account = accounts::by_id(pool, account).await?.ok_or(Missing::Account)?;
    let keys = keys::of_account(pool, account.id).await?;
    let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
    let last_used = usage::last_used(&registry.store, &ids).await?;
    Ok(Listed {
        account,
        keys,
        last_used,
        now: registry.clock.now(),
    })
}

/// Revokes an account key; a repeat changes nothing.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn revoke(
    registry: &Registry,
    actor: &Actor,
    account: AccountId,
    id: KeyId,
) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, actor).await?;
    let mut key = load(&mut change, account, id).await?;
    let before = remembered(&key);
    if !key.revoke(change.now) {
        let settled = change.nothing_to_do().await?;
        return Ok(Changed { value: (), settled });
    }
    keys::save(&mut change.tx, &key).await?;
    let entry = entry("key.revoked", &key, Some(before), Some(remembered(&key)));
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    Ok(Changed { value: (), settled })
}

/// Replaces an account key. Both records are one change, so that no gateway ever has neither in force.
///
/// # Errors
/// When there is none with this id, it is dead or was rotated before, its account isn't active, or the database
/// fails.
pub async fn rotate(
    registry: &Registry,
    actor: &Actor,
    target: (AccountId, KeyId),
    grace: Duration,
) -> Result<Changed<Rotated>> {
    let mut change = Change::begin(registry, actor).await?;
    let (account, id) = target;
    let mut old = load(&mut change, account, id).await?;
    active(&mut change, account).await?;
    let before = remembered(&old);
    let minted = registry.mint(KeyKind::Account, old.environment)?;
    let made = Made {
        by: &actor.id,
        at: change.now,
    };
    let mut key = old.replacement(&minted.plain, minted.digest, made);
    if old.sealed.is_some() {
        registry.seal_into(&mut key, &minted.plain)?;
    }
    let old_dies_at = old.retire(change.now, grace)?;
    keys::save(&mut change.tx, &old).await?;
    keys::insert(&mut change.tx, &mut key).await?;
    let after = json!({"new_key": remembered(&key), "new_key_id": key.id, "old_key": remembered(&old)});
    let entry = entry("key.rotated", &old, Some(before), Some(after));
    // The new one first: a gateway that puts records in force one by one has it before the old one goes.
    let records = [Record::Key(key.record(None)), Record::Key(old.record(None))];
    let settled = change.commit(entry, &records).await?;
    let value = Rotated {
        key,
        plain: minted.plain,
        old: old.id,
        old_dies_at,
    };
    Ok(Changed { value, settled })
}

/// The account with this id, when it may get keys.
pub(super) async fn active(change: &mut Change<'_>, id: AccountId) -> Result<Account> {
    let account = accounts::load(&mut change.tx, id)
        .await?
        .ok_or(Missing::Account)?;
    match account.status {
        AccountStatus::Active => Ok(account),
        AccountStatus::Suspended | AccountStatus::Cancelled => Err(Conflict::AccountNotActive.into()),
    }
}

async fn load(change: &mut Change<'_>, account: AccountId, id: KeyId) -> Result<ApiKey> {
    let found = keys::load_account_key(&mut change.tx, account, id).await?;
    Ok(found.ok_or(Missing::Key)?)
}

fn remembered(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "environment": key.environment,
        "mask": key.mask,
        "state": state_as_str(key.state),
        "expires_at": key.expires_at.map(UnixMillis::to_rfc3339_seconds),
        "allowed_ips": key.allowed_ips.as_ref().map(AddressList::to_strings),
    })
}

fn entry(action: &'static str, key: &ApiKey, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        action,
        target: ("api_key", key.id.to_string()),
        account: Some(key.account),
        before,
        after,
    }
}
