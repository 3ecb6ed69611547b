//! Users' own keys: who sees which, how many there may be, and their life. The limit is looked at inside the change
//! that makes a key, so that of two who race for the last place one gets it.

use keyward_contract::{AccountId, AddressList, Environment, KeyKind, PlainKey, Record, UnixMillis, UserId};
use serde_json::{Value, json};

use super::change::Change;
use super::{Actor, Changed, Registry, Result, account_keys};
use crate::domain::account::Account;
use crate::domain::claims::Sight;
use crate::domain::key::{ApiKey, Draft, Origin};
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::domain::user::User;
use crate::domain::user_key::{Switch, UserKey, switch};
use crate::store::user_keys::{self, Owners, Seen};
use crate::store::{accounts, keys, users};

/// A user who looks at keys in one environment.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Its account.
    pub account: AccountId,
    /// The kind of environment.
    pub environment: Environment,
    /// The user.
    pub user: User,
    /// How far it sees.
    pub sight: Sight,
    /// As whom it acts.
    pub actor: Actor,
}

/// What is said of a new key.
#[derive(Clone, Debug)]
pub struct NewUserKey {
    /// Whose it will be.
    pub user: UserId,
    /// What it is called.
    pub name: Name,
    /// Where it is valid.
    pub environment: Environment,
    /// The first instant at which it is dead; after the configured lifetime when absent.
    pub expires_at: Option<UnixMillis>,
    /// Where it may be used from.
    pub allowed_ips: Option<AddressList>,
}

/// A key that was made.
#[derive(Debug)]
pub struct Created {
    /// The key.
    pub key: ApiKey,
    /// The same as surface 4 shows it.
    pub shown: UserKey,
    /// Its text.
    pub plain: PlainKey,
}

/// Keys, and when they were read.
#[derive(Debug)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// When.
    pub now: UnixMillis,
}

/// How many keys an environment has and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// It has so many.
    pub used: i64,
    /// It may have so many.
    pub limit: u32,
}

impl Viewer {
    fn seen(&self, now: UnixMillis) -> Seen {
        Seen {
            owners: match self.sight {
                Sight::Own => Owners::User(self.user.id),
                Sight::Account => Owners::Account(self.account),
                Sight::Everywhere => Owners::All,
            },
            environment: self.environment,
            now,
        }
    }
}

/// The keys in sight, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(registry: &Registry, viewer: &Viewer) -> Result<Read<Vec<UserKey>>> {
    let now = registry.clock.now();
    let value = user_keys::list(registry.store.readers(), viewer.seen(now)).await?;
    Ok(Read { value, now })
}

/// How many keys the viewer's environment has and may have.
///
/// # Errors
/// When the database fails.
pub async fn used(registry: &Registry, viewer: &Viewer) -> Result<Used> {
    let pool = registry.store.readers();
    let account = accounts::by_id(pool, viewer.account)
        .await?
        .ok_or(Missing::Account)?;
    let used = user_keys::used(pool, account.id, viewer.environment, registry.clock.now()).await?;
    let limit = limit(&account, viewer.environment);
    Ok(Used { used, limit })
}

/// Makes a key of the viewer's own. Its text is in the answer and nowhere else.
///
/// # Errors
/// When the environment has as many as it may, the account isn't active any more, or the database fails.
pub async fn create(registry: &Registry, viewer: &Viewer, name: Name) -> Result<Changed<Created>> {
    let wanted = NewUserKey {
        user: viewer.user.id,
        name,
        environment: viewer.environment,
        expires_at: None,
        allowed_ips: None,
    };
    let by = viewer.user.sub.to_string();
    make(registry, &viewer.actor, viewer.account, wanted, &by).await
}

/// Makes a key for a user, as an operator: it is the user's like one that the user made.
///
/// # Errors
/// When there is no such user, the environment has as many as it may, the account isn't active, the expiry is over,
/// or the database fails.
pub async fn create_for(
    registry: &Registry,
    operator: &Actor,
    account: AccountId,
    wanted: NewUserKey,
) -> Result<Changed<Created>> {
    make(registry, operator, account, wanted, &operator.id).await
}

async fn make(
    registry: &Registry,
    actor: &Actor,
    account: AccountId,
    wanted: NewUserKey,
    by: &str,
) -> Result<Changed<Created>> {
    let mut change = Change::begin(registry, actor).await?;
    let account = account_keys::active(&mut change, account).await?;
    let user = users::load(&mut change.tx, account.id, wanted.user)
        .await?
        .ok_or(Missing::User)?;
    let limit = limit(&account, wanted.environment);
    let now = change.now;
    let used = user_keys::load_used(&mut change.tx, account.id, wanted.environment, now).await?;
    if used >= i64::from(limit) {
        return Err(Conflict::UserKeyLimit(limit).into());
    }
    let expires_at = wanted.expires_at.unwrap_or_else(|| end_of_life(registry, now));
    if expires_at <= now {
        return Err(InvalidField::new("expires_at", "must be in the future").into());
    }
    let minted = registry.mint(KeyKind::Account, wanted.environment)?;
    let draft = Draft {
        plain: &minted.plain,
        digest: minted.digest,
        account: account.id,
        environment: wanted.environment,
        customer: None,
        origin: Origin::UserKeys,
        api_version: registry.newest_api_version(),
        created_by: by,
    };
    let mut key = draft.issue(now);
    key.user = Some(user.id);
    key.name = Some(wanted.name.clone());
    key.expires_at = Some(expires_at);
    key.allowed_ips = wanted.allowed_ips;
    keys::insert(&mut change.tx, &mut key).await?;
    let shown = UserKey {
        id: key.id,
        number: key.number,
        account: account.id,
        organisation: account.company_name,
        owner: user.sub,
        created_by: key.created_by.clone(),
        name: wanted.name,
        mask: key.mask.clone(),
        state: key.state,
        expires_at,
        created_at: key.created_at,
    };
    let entry = account_keys::entry("key.created", &key, None, Some(remembered(&key)));
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    let value = Created {
        key,
        shown,
        plain: minted.plain,
    };
    Ok(Changed { value, settled })
}

/// Switches a key off or on.
///
/// # Errors
/// When no such key is in sight, it is to be active and has expired, or the database fails.
pub async fn set_status(
    registry: &Registry,
    viewer: &Viewer,
    number: i64,
    to: Switch,
) -> Result<Changed<Read<UserKey>>> {
    let mut change = Change::begin(registry, &viewer.actor).await?;
    let now = change.now;
    let (mut shown, mut key) = load(&mut change, viewer, number).await?;
    let before = remembered(&key);
    let settled = if switch(&mut key, to, now)? {
        keys::save(&mut change.tx, &key).await?;
        let action = match to {
            Switch::Active => "key.enabled",
            Switch::Inactive => "key.disabled",
        };
        let entry = account_keys::entry(action, &key, Some(before), Some(remembered(&key)));
        change.commit(entry, &[Record::Key(key.record(None))]).await?
    } else {
        change.nothing_to_do().await?
    };
    shown.state = key.state;
    Ok(Changed {
        value: Read { value: shown, now },
        settled,
    })
}

/// Deletes a key for good.
///
/// # Errors
/// When no such key is in sight or the database fails.
pub async fn delete(registry: &Registry, viewer: &Viewer, number: i64) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, &viewer.actor).await?;
    let (_, mut key) = load(&mut change, viewer, number).await?;
    let before = remembered(&key);
    key.delete(change.now);
    keys::save(&mut change.tx, &key).await?;
    let entry = account_keys::entry("key.deleted", &key, Some(before), Some(remembered(&key)));
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    Ok(Changed { value: (), settled })
}

async fn load(change: &mut Change<'_>, viewer: &Viewer, number: i64) -> Result<(UserKey, ApiKey)> {
    let seen = viewer.seen(change.now);
    let shown = user_keys::load(&mut change.tx, seen, number)
        .await?
        .ok_or(Missing::Key)?;
    let key = keys::load_account_key(&mut change.tx, shown.account, shown.id)
        .await?
        .ok_or(Missing::Key)?;
    Ok((shown, key))
}

fn limit(account: &Account, environment: Environment) -> u32 {
    match environment {
        Environment::Test => account.environments.test.user_key_limit,
        Environment::Production => account.environments.production.user_key_limit,
    }
}

fn end_of_life(registry: &Registry, now: UnixMillis) -> UnixMillis {
    let lifetime = i64::try_from(registry.rules.user_key_lifetime.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(now.0.saturating_add(lifetime))
}

fn remembered(key: &ApiKey) -> Value {
    let mut remembered = account_keys::remembered(key);
    remembered["user_id"] = json!(key.user);
    remembered
}
