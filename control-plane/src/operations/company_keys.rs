//! Account keys, as the systems of the company that owns them manage them: those of one environment, of whatever
//! surface. Customer keys are none of them.

use keyward_contract::{AddressList, KeyId, KeyKind, KeyState, PlainKey, Record, UnixMillis, UserId};
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::identify::CompanyCaller;
use super::{Changed, Registry, Result};
use crate::domain::api_version;
use crate::domain::key::{ApiKey, Draft, Origin, Standing, state_as_str};
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::store::keys::pages::{self, Place, Selection};
use crate::store::{Result as Stored, StoreError, Tx, accounts, keys, users};

/// What a company says of a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose it will be: the id of a user, or its `sub`.
    pub user: UserId,
    /// Where it may be used from.
    pub allowed_ips: Option<AddressList>,
    /// What it is for.
    pub description: Option<Name>,
}

/// What a company changes of a key; `None` leaves it as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The API version.
    pub api_version: Option<String>,
    /// What it is for.
    pub description: Option<Option<Name>>,
    /// Where it may be used from.
    pub allowed_ips: Option<Option<AddressList>>,
}

/// Which page.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of keys that stand like this.
    pub standing: Standing,
    /// So many at most.
    pub limit: i64,
    /// From here on.
    pub from: From,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// After so many of the newest.
    Offset(i64),
    /// Beside keys.
    Cursors {
        /// The page follows this one.
        after: Option<KeyId>,
        /// The page leads up to this one, whatever `after` says.
        before: Option<KeyId>,
    },
}

/// A key, as the one who asks may see it.
#[derive(Debug)]
pub struct Shown {
    /// The key.
    pub key: ApiKey,
    /// Its text, for a living one that was made for being shown again.
    pub plain: Option<PlainKey>,
    /// Whether it may be used.
    pub standing: Standing,
}

/// A page.
#[derive(Debug)]
pub struct Listed {
    /// Newest first.
    pub keys: Vec<Shown>,
    /// How many keys stand like these, whatever the page.
    pub total: i64,
    /// The page of newer ones.
    pub newer: Option<Neighbour>,
    /// The page of older ones.
    pub older: Option<Neighbour>,
}

/// Where the page beside another one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Beside this key, the page's first or last.
    Key(KeyId),
    /// After so many of the newest: beside a page without keys there is no key to name.
    Offset(i64),
}

/// Lists the account keys of the caller's environment.
///
/// # Errors
/// When a cursor is no key of this environment, or the database fails.
pub async fn list(registry: &Registry, caller: &CompanyCaller, wanted: Wanted) -> Result<Listed> {
    let mut tx = registry.store.begin_reading().await?;
    let selection = Selection {
        account: caller.account.id,
        environment: caller.environment,
        standing: wanted.standing,
        now: registry.clock.now(),
    };
    let place = place(&mut tx, &selection, wanted.from).await?;
    let keys = pages::page(&mut tx, &selection, place, wanted.limit).await?;
    let total = pages::total(&mut tx, &selection).await?;
    let (newer, older) = match (keys.first(), keys.last()) {
        (Some(first), Some(last)) => beside(&mut tx, &selection, (first, last)).await?,
        _ => beside_nothing(place, total, wanted.limit),
    };
    tx.commit().await.map_err(StoreError::from)?;
    let keys = keys
        .into_iter()
        .map(|key| shown(registry, key, selection.now))
        .collect();
    Ok(Listed {
        keys,
        total,
        newer,
        older,
    })
}

/// Finds an account key of the caller's environment, dead ones too.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn find(registry: &Registry, caller: &CompanyCaller, id: KeyId) -> Result<Shown> {
    let home = (caller.account.id, caller.environment);
    let found = pages::one(registry.store.readers(), home, id).await?;
    Ok(shown(registry, found.ok_or(Missing::Key)?, registry.clock.now()))
}

/// Makes a key for a user of the caller's account. It is sealed: it can be shown again.
///
/// # Errors
/// When there is no such user, the account isn't active any more, or the database fails.
pub async fn create(registry: &Registry, caller: &CompanyCaller, new: NewKey) -> Result<Changed<Shown>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let account = accounts::load(&mut change.tx, caller.account.id).await?;
    if !account.ok_or(Missing::Account)?.may_call(change.now) {
        return Err(Conflict::AccountNotActive.into());
    }
    let user = user(registry, &mut change, caller, new.user).await?;
    let minted = registry.mint(KeyKind::Account, caller.environment)?;
    let draft = Draft {
        plain: &minted.plain,
        digest: minted.digest,
        account: caller.account.id,
        environment: caller.environment,
        customer: None,
        origin: Origin::Keys,
        api_version: registry.newest_api_version(),
        created_by: &caller.actor.id,
    };
    let mut key = draft.issue(change.now);
    key.user = Some(user);
    key.name = new.description;
    key.allowed_ips = new.allowed_ips;
    registry.seal_into(&mut key, &minted.plain)?;
    keys::insert(&mut change.tx, &mut key).await?;
    let entry = entry("key.created", &key, None);
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    let value = Shown {
        key,
        plain: Some(minted.plain),
        standing: Standing::Active,
    };
    Ok(Changed { value, settled })
}

/// Changes an account key; with nothing to change, nothing happens.
///
/// # Errors
/// When there is none with this id that isn't deleted, the version is unknown or can't be gone back to any more, or
/// the database fails.
pub async fn update(
    registry: &Registry,
    caller: &CompanyCaller,
    id: KeyId,
    edit: Edit,
) -> Result<Changed<Shown>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let old = load(&mut change, caller, id).await?;
    let mut key = old.clone();
    apply(registry, &mut key, edit, change.now)?;
    let now = change.now;
    let settled = if key == old {
        change.nothing_to_do().await?
    } else {
        key.updated_at = now;
        keys::save(&mut change.tx, &key).await?;
        let entry = entry("key.updated", &key, Some(&old));
        let record = key.record(None);
        let is_news = record != old.record(None);
        let records: Vec<Record> = is_news.then_some(Record::Key(record)).into_iter().collect();
        change.commit(entry, &records).await?
    };
    let value = shown(registry, key, now);
    Ok(Changed { value, settled })
}

/// Deletes an account key, the caller's own perhaps, for good.
///
/// # Errors
/// When there is none with this id that isn't deleted, or the database fails.
pub async fn delete(registry: &Registry, caller: &CompanyCaller, id: KeyId) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let old = load(&mut change, caller, id).await?;
    let mut key = old.clone();
    key.delete(change.now);
    keys::save(&mut change.tx, &key).await?;
    let entry = entry("key.deleted", &key, Some(&old));
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    Ok(Changed { value: (), settled })
}

fn apply(registry: &Registry, key: &mut ApiKey, edit: Edit, now: UnixMillis) -> Result<()> {
    if let Some(typed) = edit.api_version {
        let rules = &registry.rules;
        let version = api_version::known("apiVersion", &typed, &rules.api_versions)?;
        key.api_version
            .move_to(version, now, rules.api_version_downgrade_window)?;
    }
    if let Some(description) = edit.description {
        key.name = description;
    }
    if let Some(list) = edit.allowed_ips {
        key.allowed_ips = list;
    }
    Ok(())
}

/// The user of the caller's account with this id, or else with this `sub`.
async fn user(
    registry: &Registry,
    change: &mut Change<'_>,
    caller: &CompanyCaller,
    id: UserId,
) -> Result<UserId> {
    let account = caller.account.id;
    if let Some(user) = users::load(&mut change.tx, account, id).await? {
        return Ok(user.id);
    }
    // No other change runs, so that the readers see what the change sees.
    let found = users::by_sub(registry.store.readers(), *id.as_uuid()).await?;
    let found = found.filter(|user| user.account == account);
    Ok(found.ok_or(Missing::User)?.id)
}

/// A deleted key is there to be looked at, and for nothing else.
async fn load(change: &mut Change<'_>, caller: &CompanyCaller, id: KeyId) -> Result<ApiKey> {
    let home = (caller.account.id, caller.environment);
    let found = pages::one(&mut *change.tx, home, id).await?;
    let living = found.filter(|key| key.state != KeyState::Deleted);
    Ok(living.ok_or(Missing::Key)?)
}

async fn place(tx: &mut Tx, selection: &Selection, from: From) -> Result<Place> {
    let (after, before) = match from {
        From::Offset(offset) => return Ok(Place::Offset(offset)),
        From::Cursors { after, before } => (after, before),
    };
    let after = number(tx, selection, "startingAfter", after).await?;
    let before = number(tx, selection, "endingBefore", before).await?;
    Ok(match (after, before) {
        (_, Some(number)) => Place::NewerThan(number),
        (Some(number), None) => Place::OlderThan(number),
        (None, None) => Place::Offset(0),
    })
}

/// The number of a cursor's key, which may have been ended since.
async fn number(
    tx: &mut Tx,
    selection: &Selection,
    parameter: &'static str,
    cursor: Option<KeyId>,
) -> Result<Option<i64>> {
    let Some(id) = cursor else { return Ok(None) };
    let home = (selection.account, selection.environment);
    match pages::one(&mut **tx, home, id).await? {
        Some(key) => Ok(Some(key.number)),
        None => Err(InvalidField::new(parameter, "is no key that is known here").into()),
    }
}

async fn beside(
    tx: &mut Tx,
    selection: &Selection,
    (first, last): (&ApiKey, &ApiKey),
) -> Stored<(Option<Neighbour>, Option<Neighbour>)> {
    let newer = pages::any_newer(tx, selection, first.number).await?;
    let older = pages::any_older(tx, selection, last.number).await?;
    Ok((
        newer.then_some(Neighbour::Key(first.id)),
        older.then_some(Neighbour::Key(last.id)),
    ))
}

/// A page without keys lies before all of them or behind them.
fn beside_nothing(place: Place, total: i64, limit: i64) -> (Option<Neighbour>, Option<Neighbour>) {
    match place {
        _ if total == 0 => (None, None),
        Place::NewerThan(_) => (None, Some(Neighbour::Offset(0))),
        Place::Offset(_) | Place::OlderThan(_) => {
            (Some(Neighbour::Offset(total.saturating_sub(limit).max(0))), None)
        }
    }
}

/// Only keys that were made here are shown again, and only while they are good for something.
fn shown(registry: &Registry, key: ApiKey, now: UnixMillis) -> Shown {
    let standing = key.standing(now);
    let plain = match (key.origin, standing) {
        (Origin::Keys, Standing::Active) => registry.open(&key),
        _ => None,
    };
    Shown { key, plain, standing }
}

fn remembered(key: &ApiKey) -> Value {
    json!({
        "name": key.name,
        "environment": key.environment,
        "user": key.user,
        "mask": key.mask,
        "state": state_as_str(key.state),
        "allowed_ips": key.allowed_ips.as_ref().map(AddressList::to_strings),
        "api_version": key.api_version.version,
    })
}

fn entry(action: &'static str, key: &ApiKey, before: Option<&ApiKey>) -> Entry {
    Entry {
        action,
        target: ("api_key", key.id.to_string()),
        account: Some(key.account),
        before: before.map(remembered),
        after: Some(remembered(key)),
    }
}
