//! Whose credential this is. One indexed read for a key of either kind, at every call: a revoked key is refused at
//! once. A text that is no key costs none. Tokens are looked into by `tokens::identify`.

use std::net::IpAddr;

use keyward_contract::{Environment, KeyKind, KeyShape, UnixMillis, UserId};
use uuid::Uuid;

use super::tokens::identify as tokens;
use super::{Actor, ActorKind, Registry, Result};
use crate::domain::account::Account;
use crate::domain::admin::AdminKey;
use crate::domain::key::{ApiKey, Origin};
use crate::domain::token::is_token;
use crate::domain::user::{Permissions, User};
use crate::store::{Purpose, accounts, admin_keys, users};

/// How often an admin key's last use is written down.
const TOUCH_EVERY_MS: i64 = 60_000;

/// The holder of a living account key.
#[derive(Clone, Debug)]
pub struct PortalCaller {
    /// The key.
    pub key: ApiKey,
    /// Its account.
    pub account: Account,
    /// As whom it acts.
    pub actor: Actor,
}

impl PortalCaller {
    /// The environment that the key is for.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.key.environment
    }
}

/// The holder of a living admin key.
#[derive(Clone, Debug)]
pub struct AdminCaller {
    /// The key.
    pub key: AdminKey,
    /// As whom it acts.
    pub actor: Actor,
}

/// Somebody of a company, on surfaces 3 and 4.
#[derive(Clone, Debug)]
pub struct CompanyCaller {
    /// The company.
    pub account: Account,
    /// Where it acts.
    pub environment: Environment,
    /// The person, when it is one.
    pub user: Option<User>,
    /// What it may do on surface 3.
    pub permissions: Permissions,
    /// What it may do on surface 4; compared as exact texts.
    pub claims: Vec<String>,
    /// By what it was identified.
    pub credential: Credential,
    /// As whom it acts.
    pub actor: Actor,
}

/// By what somebody of a company was identified.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A living account key, or a token that was fetched with it: the key's address list and life hold for both.
    Key(Box<ApiKey>),
    /// A token of an OpenID Connect issuer, about this user.
    Token(UserId),
}

impl Credential {
    /// The account key, when there is one.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        match self {
            Self::Key(key) => Some(key),
            Self::Token(_) => None,
        }
    }

    /// Whose bucket of management calls it draws on.
    #[must_use]
    pub fn bucket(&self) -> Uuid {
        match self {
            Self::Key(key) => *key.id.as_uuid(),
            Self::Token(user) => *user.as_uuid(),
        }
    }
}

/// Why a key identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unidentified {
    /// No key of this kind was ever made with this text.
    Unknown,
    /// It was one, and is revoked, deleted, disabled or expired.
    Dead,
}

/// Why a credential of surfaces 3 and 4 identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It is a key.
    Key(Unidentified),
    /// It is a token.
    Token(tokens::Refused),
}

/// Why an identified caller may not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// The account is suspended, cancelled, or its contract doesn't hold.
    Account,
    /// The address is not on the key's list.
    Address,
}

/// The call that a credential came with.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id.
    pub request_id: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
}

impl Call {
    pub(super) fn actor(&self, kind: ActorKind, id: String) -> Actor {
        Actor {
            kind,
            id,
            request_id: self.request_id.clone(),
            address: self
                .address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            once: None,
        }
    }
}

/// Finds the account key with this text.
///
/// # Errors
/// When the database fails.
pub async fn account_key(
    registry: &Registry,
    text: &[u8],
    call: &Call,
) -> Result<std::result::Result<PortalCaller, Unidentified>> {
    if !KeyShape::parse(text).is_ok_and(|shape| shape.kind == KeyKind::Account) {
        return Ok(Err(Unidentified::Unknown));
    }
    let pool = registry.store.readers();
    let digest = registry.digest_key.digest(text);
    let Some((key, account)) = accounts::by_key_digest(pool, digest).await? else {
        return Ok(Err(Unidentified::Unknown));
    };
    if !key.is_live(registry.clock.now()) {
        return Ok(Err(Unidentified::Dead));
    }
    let actor = call.actor(ActorKind::AccountKey, key.id.to_string());
    Ok(Ok(PortalCaller { key, account, actor }))
}

/// Whether the holder of an account key may call now, from there.
///
/// # Errors
/// Why it may not.
pub fn may_call(
    caller: &PortalCaller,
    now: UnixMillis,
    address: Option<IpAddr>,
) -> std::result::Result<(), Forbidden> {
    may_act(&caller.account, Some(&caller.key), now, address)
}

/// Whether somebody of this account may call now, from there: the account must be active, and the key's address
/// list must hold it.
///
/// # Errors
/// Why it may not.
pub fn may_act(
    account: &Account,
    key: Option<&ApiKey>,
    now: UnixMillis,
    address: Option<IpAddr>,
) -> std::result::Result<(), Forbidden> {
    if !account.may_call(now) {
        return Err(Forbidden::Account);
    }
    let allowed = key
        .and_then(|key| key.allowed_ips.as_ref())
        .is_none_or(|list| address.is_some_and(|address| list.allows(address)));
    if allowed { Ok(()) } else { Err(Forbidden::Address) }
}

/// Finds who calls surface 3 or 4 with this text: an account key or a token.
///
/// # Errors
/// When the database fails.
pub async fn company(
    registry: &Registry,
    text: &[u8],
    call: &Call,
) -> Result<std::result::Result<CompanyCaller, Stranger>> {
    if is_token(text) {
        let found = tokens::company(registry, text, call).await?;
        return Ok(found.map_err(Stranger::Token));
    }
    match account_key(registry, text, call).await? {
        Ok(caller) => Ok(Ok(of_key(registry, caller).await?)),
        Err(why) => Ok(Err(Stranger::Key(why))),
    }
}

/// What an account key may do on surface 3: those of surface 4 nothing.
pub(super) fn permissions_of(key: &ApiKey) -> Permissions {
    match key.origin {
        Origin::UserKeys => Permissions::NONE,
        Origin::Portal | Origin::Admin | Origin::Keys => Permissions::ALL,
    }
}

/// The holder of an account key, as its user when it belongs to one.
pub(super) async fn of_key(registry: &Registry, caller: PortalCaller) -> Result<CompanyCaller> {
    let PortalCaller { key, account, actor } = caller;
    let user = match key.user {
        Some(id) => users::by_id(registry.store.readers(), id).await?,
        None => None,
    };
    Ok(CompanyCaller {
        environment: key.environment,
        permissions: permissions_of(&key),
        claims: user.as_ref().map(|user| user.claims.clone()).unwrap_or_default(),
        user,
        credential: Credential::Key(Box::new(key)),
        account,
        actor,
    })
}

/// Finds the living admin key with this text.
///
/// # Errors
/// When the database fails.
pub async fn admin_key(registry: &Registry, text: &[u8], call: &Call) -> Result<Option<AdminCaller>> {
    if !KeyShape::parse(text).is_ok_and(|shape| shape.kind == KeyKind::Admin) {
        return Ok(None);
    }
    let found = admin_keys::by_digest(registry.store.readers(), registry.digest_key.digest(text)).await?;
    Ok(found.filter(AdminKey::is_live).map(|key| AdminCaller {
        actor: call.actor(ActorKind::AdminKey, key.id.to_string()),
        key,
    }))
}

/// Writes down that an admin key was used, at most once a minute. Failing to is noted in the log alone: no call
/// fails for it.
pub async fn note_use(registry: &Registry, key: &AdminKey) {
    let now = registry.clock.now();
    if key.last_used_at.is_some_and(|at| now.0 - at.0 < TOUCH_EVERY_MS) {
        return;
    }
    let noted = async {
        let mut tx = registry.store.begin(Purpose::Other).await?;
        admin_keys::touch(&mut tx, key.id, now).await?;
        tx.commit().await?;
        Ok::<_, crate::store::StoreError>(())
    };
    if let Err(error) = noted.await {
        tracing::warn!(%error, "the last use of an admin key was not written down");
    }
}
