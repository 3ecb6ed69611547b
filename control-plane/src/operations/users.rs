//! Users of accounts, as operators manage them. Gateways know keys, not users: only a user's end reaches them, with
//! its keys.

use keyward_contract::{AccountId, Record, UnixMillis, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::accounts::living;
use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::domain::user::{Permissions, User};
use crate::store::{accounts, user_keys, users};

/// What an operator says of a new user.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Who its tokens say it is; made up when absent.
    pub sub: Option<Uuid>,
    /// Its name.
    pub name: Name,
    /// Whom to write to.
    pub email: String,
    /// What surface 4 lets it do.
    pub claims: Vec<String>,
    /// What surface 3 lets it do, when its token doesn't say.
    pub permissions: Permissions,
}

/// What an operator changes of a user; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Its `sub`, which can only be what it is.
    pub sub: Option<Uuid>,
    /// Its name.
    pub name: Option<Name>,
    /// Whom to write to.
    pub email: Option<String>,
    /// What surface 4 lets it do, replaced whole.
    pub claims: Option<Vec<String>>,
    /// What surface 3 lets it do, replaced whole.
    pub permissions: Option<Permissions>,
}

/// Makes a user.
///
/// # Errors
/// When the account isn't there or is cancelled, somebody has or had the `sub`, or the database fails.
pub async fn create(
    registry: &Registry,
    actor: &Actor,
    account: AccountId,
    wanted: NewUser,
) -> Result<Changed<User>> {
    let mut change = Change::begin(registry, actor).await?;
    let account = living(&mut change, account).await?;
    let sub = wanted.sub.unwrap_or_else(Uuid::new_v4);
    if users::is_taken(&mut change.tx, sub).await? {
        return Err(Conflict::SubTaken.into());
    }
    let user = User {
        id: UserId::new(),
        account: account.id,
        sub,
        name: wanted.name,
        email: wanted.email,
        claims: wanted.claims,
        permissions: wanted.permissions,
        created_at: change.now,
        updated_at: change.now,
    };
    users::insert(&mut change.tx, &user).await?;
    let entry = entry("user.created", &user, None, Some(remembered(&user)));
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed { value: user, settled })
}

/// The newest users of an account, older than `before` (creation and id).
///
/// # Errors
/// When the account isn't there or the database fails.
pub async fn list(
    registry: &Registry,
    account: AccountId,
    before: Option<(UnixMillis, UserId)>,
    limit: i64,
) -> Result<Vec<User>> {
    let pool = registry.store.readers();
    let account = accounts::by_id(pool, account).await?.ok_or(Missing::Account)?;
    Ok(users::list(pool, account.id, before, limit).await?)
}

/// Finds a user of an account.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn find(registry: &Registry, account: AccountId, id: UserId) -> Result<User> {
    let found = users::by_id(registry.store.readers(), id).await?;
    let found = found.filter(|user| user.account == account);
    Ok(found.ok_or(Missing::User)?)
}

/// Changes what is given of a user, and nothing else.
///
/// # Errors
/// When there is none with this id, its account is cancelled, its `sub` would change, or the database fails.
pub async fn update(
    registry: &Registry,
    actor: &Actor,
    target: (AccountId, UserId),
    edit: Edit,
) -> Result<Changed<User>> {
    let mut change = Change::begin(registry, actor).await?;
    let before = load(&mut change, target).await?;
    let mut user = edited(before.clone(), edit)?;
    if user == before {
        let settled = change.nothing_to_do().await?;
        return Ok(Changed { value: user, settled });
    }
    user.updated_at = change.now;
    users::save(&mut change.tx, &user).await?;
    let entry = entry(
        "user.updated",
        &user,
        Some(remembered(&before)),
        Some(remembered(&user)),
    );
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed { value: user, settled })
}

/// Deletes a user, and revokes its keys in the same change. Nobody ever gets its `sub` again.
///
/// # Errors
/// When there is none with this id, its account is cancelled, or the database fails: then everything is as it was.
pub async fn delete(registry: &Registry, actor: &Actor, target: (AccountId, UserId)) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, actor).await?;
    let user = load(&mut change, target).await?;
    let now = change.now;
    users::delete(&mut change.tx, user.id, now).await?;
    let revoked = user_keys::revoke_all(&mut change.tx, user.id, now).await?;
    let after = json!({"status": "deleted", "revoked_keys": revoked.len()});
    let entry = entry("user.deleted", &user, Some(remembered(&user)), Some(after));
    let records: Vec<_> = revoked.into_iter().map(Record::Key).collect();
    let settled = change.commit(entry, &records).await?;
    Ok(Changed { value: (), settled })
}

fn edited(mut user: User, edit: Edit) -> std::result::Result<User, InvalidField> {
    if edit.sub.is_some_and(|sub| sub != user.sub) {
        return Err(InvalidField::new(
            "sub",
            "can't be changed: delete the user and make another",
        ));
    }
    user.name = edit.name.unwrap_or(user.name);
    user.email = edit.email.unwrap_or(user.email);
    user.claims = edit.claims.unwrap_or(user.claims);
    user.permissions = edit.permissions.unwrap_or(user.permissions);
    Ok(user)
}

async fn load(change: &mut Change<'_>, (account, id): (AccountId, UserId)) -> Result<User> {
    let account = living(change, account).await?;
    let found = users::load(&mut change.tx, account.id, id).await?;
    Ok(found.ok_or(Missing::User)?)
}

fn remembered(user: &User) -> Value {
    json!({
        "sub": user.sub,
        "name": user.name,
        "email": user.email,
        "claims": user.claims,
        "permissions": user.permissions.names(),
        "status": "active",
    })
}

fn entry(action: &'static str, user: &User, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        action,
        target: ("user", user.id.to_string()),
        account: Some(user.account),
        before,
        after,
    }
}
