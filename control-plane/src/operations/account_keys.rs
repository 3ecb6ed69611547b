//! Account keys, as operators manage them.

use std::collections::HashMap;
use std::time::Duration;

use keyward_contract::{
    AccountId, AccountStatus, AddressList, Environment, KeyId, KeyKind, KeyState, PlainKey, Record,
    UnixMillis,
};
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::account::Account;
use crate::domain::key::{ApiKey, Draft, Made, Origin, state_as_str};
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::domain::user_key::MAX_USER_KEY_NAME;
use crate::store::{accounts, customers, keys, usage};

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

/// What an operator changes of a key; what is absent stays. An inner `None` clears.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Whether it may be used.
    pub standing: Option<Standing>,
    /// What it is called.
    pub name: Option<Option<Name>>,
    /// The first instant at which it is dead.
    pub expires_at: Option<Option<UnixMillis>>,
    /// Where it may be used from.
    pub allowed_ips: Option<Option<AddressList>>,
}

/// Whether a key that is not revoked may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// Not for now.
    Disabled,
}

/// A key that was changed.
#[derive(Debug)]
pub struct Updated {
    /// The key.
    pub key: ApiKey,
    /// What its account is.
    pub account: AccountStatus,
    /// When it was last used.
    pub last_used_at: Option<UnixMillis>,
    /// The instant of the change.
    pub now: UnixMillis,
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

/// Changes what is given of a key: so is a quarantine lifted. Of customer keys only the status can be changed.
///
/// # Errors
/// When there is none with this id, it is revoked or in its rotation's grace, its account is cancelled, a field breaks
/// a rule, or the database fails.
pub async fn update(
    registry: &Registry,
    actor: &Actor,
    (account, id): (AccountId, KeyId),
    edit: Edit,
) -> Result<Changed<Updated>> {
    let mut change = Change::begin(registry, actor).await?;
    let account = accounts::load(&mut change.tx, account)
        .await?
        .ok_or(Missing::Account)?;
    let before = keys::load_any(&mut change.tx, account.id, id)
        .await?
        .ok_or(Missing::Key)?;
    if account.status == AccountStatus::Cancelled {
        return Err(Conflict::AccountCancelled.into());
    }
    let mut key = edited(&before, edit, change.now)?;
    // Read now: after the commit nothing may fail any more.
    let last_used = usage::last_used(&registry.store, &[id]).await?;
    let now = change.now;
    let settled = if key == before {
        change.nothing_to_do().await?
    } else {
        key.updated_at = now;
        keys::save(&mut change.tx, &key).await?;
        let limits = match key.customer {
            Some(customer) => customers::load(&mut change.tx, account.id, key.environment, customer)
                .await?
                .and_then(|customer| customer.limits),
            None => None,
        };
        let action = match (before.state, key.state) {
            (KeyState::Active, KeyState::Disabled) => "key.disabled",
            (KeyState::Disabled, KeyState::Active) => "key.enabled",
            _ => "key.updated",
        };
        let entry = entry(action, &key, Some(remembered(&before)), Some(remembered(&key)));
        change.commit(entry, &[Record::Key(key.record(limits))]).await?
    };
    let value = Updated {
        key,
        account: account.status,
        last_used_at: last_used.get(&id).copied(),
        now,
    };
    Ok(Changed { value, settled })
}

/// Surface 4 promises its readers that each of its keys has a name of this length and an end.
fn check_user_key(edit: &Edit) -> std::result::Result<(), InvalidField> {
    if edit.expires_at == Some(None) {
        return Err(InvalidField::new(
            "expires_at",
            "can't be cleared for a user's key",
        ));
    }
    match &edit.name {
        Some(None) => Err(InvalidField::new("name", "can't be cleared for a user's key")),
        Some(Some(name)) if name.as_str().chars().count() > MAX_USER_KEY_NAME => Err(InvalidField::new(
            "name",
            format!("must have at most {MAX_USER_KEY_NAME} characters for a user's key"),
        )),
        _ => Ok(()),
    }
}

fn edited(key: &ApiKey, edit: Edit, now: UnixMillis) -> Result<ApiKey> {
    if matches!(key.state, KeyState::Revoked | KeyState::Deleted) {
        return Err(Conflict::KeyRevoked.into());
    }
    let of_customer = [
        ("name", edit.name.is_some()),
        ("expires_at", edit.expires_at.is_some()),
        ("allowed_ips", edit.allowed_ips.is_some()),
    ];
    if let (Some(_), Some((field, _))) = (key.customer, of_customer.iter().find(|(_, given)| *given)) {
        return Err(InvalidField::new(*field, "can't be set for the key of an end customer").into());
    }
    if key.origin == Origin::UserKeys {
        check_user_key(&edit)?;
    }
    let mut edited = key.clone();
    if let Some(standing) = edit.standing {
        (edited.state, edited.held_at) = match standing {
            Standing::Active => (KeyState::Active, None),
            Standing::Disabled => (KeyState::Disabled, key.held_at.or(Some(now))),
        };
    }
    edited.name = edit.name.unwrap_or(edited.name);
    edited.allowed_ips = edit.allowed_ips.unwrap_or(edited.allowed_ips);
    if let Some(expires_at) = edit.expires_at {
        // The end of a grace is the rotation's: a later one would bring back what was replaced.
        if key.rotated_at.is_some() && expires_at != key.expires_at {
            return Err(Conflict::KeyInGrace.into());
        }
        if expires_at.is_some_and(|at| at <= now) {
            return Err(InvalidField::new("expires_at", "must be in the future").into());
        }
        edited.expires_at = expires_at;
    }
    Ok(edited)
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

pub(super) fn remembered(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "environment": key.environment,
        "mask": key.mask,
        "state": state_as_str(key.state),
        "expires_at": key.expires_at.map(UnixMillis::to_rfc3339_seconds),
        "allowed_ips": key.allowed_ips.as_ref().map(AddressList::to_strings),
    })
}

pub(super) fn entry(
    action: &'static str,
    key: &ApiKey,
    before: Option<Value>,
    after: Option<Value>,
) -> Entry {
    Entry {
        action,
        target: ("api_key", key.id.to_string()),
        account: Some(key.account),
        before,
        after,
    }
}
