//! Who calls with a token. A token of ours costs four indexed reads, one of the other issuer two; neither waits for the
//! network while the key that signed it is known.

use keyward_contract::{Environment, EnvironmentId, KeyId};
use serde_json::Value;
use uuid::Uuid;

use super::{KEY_CLAIM, LEEWAY, rotation};
use crate::domain::account::Account;
use crate::domain::token::{Claims, Expected, Flaw, SigningKey, Unproven};
use crate::domain::user::{Permissions, User};
use crate::oidc::Oidc;
use crate::operations::identify::{self, Call, CompanyCaller, Credential, PortalCaller};
use crate::operations::{ActorKind, Registry, Result};
use crate::store::{accounts, keys, users};

/// Why a token identifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It proves nothing here.
    Unsound,
    /// It was good once: its time is over, or the key that fetched it is dead.
    Ended,
    /// It is good, but of no user who is known here.
    NoUser,
    /// It is good, but for an environment that its account doesn't have.
    NoEnvironment,
    /// Its issuer can't be asked for its keys, and never could.
    CantTell,
}

impl From<Flaw> for Refused {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Expired => Self::Ended,
            Flaw::NoKeys => Self::CantTell,
            Flaw::Malformed
            | Flaw::Algorithm
            | Flaw::Critical
            | Flaw::Kind
            | Flaw::Issuer
            | Flaw::UnknownKey
            | Flaw::Signature
            | Flaw::Audience
            | Flaw::Subject
            | Flaw::Times
            | Flaw::NotYet => Self::Unsound,
        }
    }
}

/// Finds who calls with this token.
///
/// # Errors
/// When the database fails.
pub async fn company(
    registry: &Registry,
    text: &[u8],
    call: &Call,
) -> Result<std::result::Result<CompanyCaller, Refused>> {
    let proven = match Unproven::parse(text) {
        Ok(token) => prove(registry, token).await?,
        Err(flaw) => Err(flaw),
    };
    match proven {
        Ok(Proven::Ours(claims)) => of_key(registry, &claims, call).await,
        Ok(Proven::Theirs(claims, oidc)) => of_user(registry, &claims, oidc, call).await,
        Err(flaw) => {
            tracing::debug!(%flaw, "a token was refused");
            Ok(Err(flaw.into()))
        }
    }
}

enum Proven<'a> {
    Ours(Claims),
    Theirs(Claims, &'a Oidc),
}

async fn prove<'a>(
    registry: &'a Registry,
    token: Unproven<'_>,
) -> Result<std::result::Result<Proven<'a>, Flaw>> {
    let tokens = &registry.tokens;
    if token.issuer() == Some(&tokens.issuer) {
        let claims = prove_ours(registry, token).await?;
        return Ok(claims.map(Proven::Ours));
    }
    match &tokens.oidc {
        Some(oidc) if token.issuer() == Some(oidc.issuer()) => {
            let claims = oidc.prove(token, registry.clock.now()).await;
            Ok(claims.map(|claims| Proven::Theirs(claims, oidc)))
        }
        _ => Ok(Err(Flaw::Issuer)),
    }
}

async fn prove_ours(registry: &Registry, token: Unproven<'_>) -> Result<std::result::Result<Claims, Flaw>> {
    let token = match token.of_kind(&SigningKey::KINDS) {
        Ok(token) => token,
        Err(flaw) => return Ok(Err(flaw)),
    };
    // Ids of ours have 43 characters: a longer one is not worth a read.
    let Some(id) = token.key_id().filter(|id| id.len() <= 64) else {
        return Ok(Err(Flaw::UnknownKey));
    };
    let key = rotation::by_id(registry, id).await?;
    let Some(key) = key.and_then(|key| key.verifying()) else {
        return Ok(Err(Flaw::UnknownKey));
    };
    let issuer = &registry.tokens.issuer;
    let expected = Expected {
        issuer,
        audience: issuer,
        leeway: LEEWAY,
    };
    let now = registry.clock.now();
    Ok(token
        .prove(&key)
        .and_then(|claims| claims.check(expected, now).map(|()| claims)))
}

/// The caller is the account key that the token was fetched with, as far as the token's scope goes.
async fn of_key(
    registry: &Registry,
    claims: &Claims,
    call: &Call,
) -> Result<std::result::Result<CompanyCaller, Refused>> {
    let account = claims.subject().parse().ok();
    let id = claims.text(KEY_CLAIM).and_then(|id| id.parse::<KeyId>().ok());
    let (Some(account), Some(id)) = (account, id) else {
        return Ok(Err(Refused::Unsound));
    };
    let pool = registry.store.readers();
    let Some(key) = keys::account_key(pool, account, id).await? else {
        return Ok(Err(Refused::Unsound));
    };
    if !key.is_live(registry.clock.now()) {
        return Ok(Err(Refused::Ended));
    }
    let Some(account) = accounts::by_id(pool, account).await? else {
        return Ok(Err(Refused::Unsound));
    };
    let actor = call.actor(ActorKind::AccountKey, key.id.to_string());
    let mut caller = identify::of_key(registry, PortalCaller { key, account, actor }).await?;
    let scope = claims.text("scope").unwrap_or_default();
    caller.permissions = caller.permissions.and(Permissions::among(scope.split(' ')));
    Ok(Ok(caller))
}

/// The caller is the user that the token is about.
async fn of_user(
    registry: &Registry,
    claims: &Claims,
    oidc: &Oidc,
    call: &Call,
) -> Result<std::result::Result<CompanyCaller, Refused>> {
    // Only the hyphenated form, as everywhere.
    let sub = Some(claims.subject()).filter(|sub| sub.len() == 36);
    let Some(sub) = sub.and_then(|sub| Uuid::try_parse(sub).ok()) else {
        return Ok(Err(Refused::NoUser));
    };
    let pool = registry.store.readers();
    let Some(user) = users::by_sub(pool, sub).await? else {
        return Ok(Err(Refused::NoUser));
    };
    let Some(account) = accounts::by_id(pool, user.account).await? else {
        return Ok(Err(Refused::NoUser));
    };
    let Some(environment) = environment(claims.value("environment"), &account) else {
        return Ok(Err(Refused::NoEnvironment));
    };
    Ok(Ok(CompanyCaller {
        environment,
        permissions: permissions(claims, &user),
        claims: claims
            .texts(oidc.claims_name())
            .into_iter()
            .map(str::to_owned)
            .collect(),
        credential: Credential::Token(user.id),
        actor: call.actor(ActorKind::User, user.sub.to_string()),
        user: Some(user),
        account,
    }))
}

/// A token without this claim is for production.
fn environment(claim: Option<&Value>, account: &Account) -> Option<Environment> {
    let Some(claim) = claim else {
        return Some(Environment::Production);
    };
    let text = claim.as_str()?;
    let id: Option<EnvironmentId> = text.parse().ok();
    account
        .environments
        .both()
        .into_iter()
        .find(|(kind, settings)| kind.as_str() == text || id == Some(settings.id))
        .map(|(kind, _)| kind)
}

/// A token that says nothing of permissions leaves them as they are stored; one that says nonsense gives none.
fn permissions(claims: &Claims, user: &User) -> Permissions {
    if let Some(claim) = claims.value("permissions") {
        let texts = claim.as_array().map(Vec::as_slice).unwrap_or_default();
        return Permissions::among(texts.iter().filter_map(Value::as_str));
    }
    match claims.value("scope") {
        Some(scope) => Permissions::among(scope.as_str().unwrap_or_default().split(' ')),
        None => user.permissions,
    }
}
