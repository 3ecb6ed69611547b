//! A token for an account key: OAuth 2.0 client credentials. Changes nothing; four reads and a signature.

use keyward_contract::AccountId;
use serde_json::{Value, json};

use super::{KEY_CLAIM, rotation};
use crate::domain::seal::SealError;
use crate::domain::user::Permissions;
use crate::operations::identify::{self, Call, PortalCaller};
use crate::operations::{Registry, Result};

/// What a client shows and asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The account.
    pub client: AccountId,
    /// An account key of it.
    pub secret: &'a Secret,
    /// The permissions that it wants, separated by spaces; all that the key has, when it doesn't say.
    pub scope: Option<&'a str>,
}

/// What a client shows. Can't be printed.
pub struct Secret(String);

impl Secret {
    /// Takes what was shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A token that was just made.
pub struct Issued {
    /// Its text.
    pub token: String,
    /// How many seconds it lives.
    pub expires_in: i64,
    /// What it allows; empty when nothing.
    pub scope: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Why none was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unissued {
    /// The secret is no living key of this account, or may not be used now or from there.
    Client,
    /// The scope holds something that isn't known, or that the key may not do.
    Scope,
}

/// Makes a token.
///
/// # Errors
/// When the database fails.
pub async fn issue(
    registry: &Registry,
    request: Request<'_>,
    call: &Call,
) -> Result<std::result::Result<Issued, Unissued>> {
    let Some(caller) = client(registry, request, call).await? else {
        return Ok(Err(Unissued::Client));
    };
    let Some(scope) = scope(request.scope, identify::permissions_of(&caller.key)) else {
        return Ok(Err(Unissued::Scope));
    };
    let key = match rotation::signing(registry).await? {
        Some(key) => key,
        None => {
            rotation::rotate(registry).await?;
            rotation::signing(registry).await?.ok_or(SealError)?
        }
    };
    let (claims, expires_in) = claims(registry, &caller, &scope);
    let token = key.sign(&claims).ok_or(SealError)?;
    Ok(Ok(Issued {
        token,
        expires_in,
        scope,
    }))
}

async fn client(registry: &Registry, request: Request<'_>, call: &Call) -> Result<Option<PortalCaller>> {
    let found = identify::account_key(registry, request.secret.0.as_bytes(), call).await?;
    let now = registry.clock.now();
    Ok(found.ok().filter(|caller| {
        caller.account.id == request.client && identify::may_call(caller, now, call.address).is_ok()
    }))
}

/// What is asked for, if every part of it may be had.
fn scope(asked: Option<&str>, has: Permissions) -> Option<String> {
    let has = has.names();
    let Some(asked) = asked else {
        return Some(has.join(" "));
    };
    let mut asked: Vec<&str> = asked.split(' ').filter(|name| !name.is_empty()).collect();
    asked.sort_unstable();
    asked.dedup();
    asked
        .iter()
        .all(|name| has.contains(name))
        .then(|| asked.join(" "))
}

/// What the token says (RFC 9068), and how many seconds it lives: never longer than its key.
fn claims(registry: &Registry, caller: &PortalCaller, scope: &str) -> (Value, i64) {
    let tokens = &registry.tokens;
    let now = registry.clock.now().0.div_euclid(1_000);
    let lifetime = i64::try_from(tokens.lifetime.as_secs()).unwrap_or(i64::MAX);
    let key_ends = caller.key.expires_at.map(|at| at.0.div_euclid(1_000));
    let ends = key_ends
        .unwrap_or(i64::MAX)
        .min(now.saturating_add(lifetime))
        .max(now.saturating_add(1));
    let account = caller.account.id;
    let mut claims = json!({
        "iss": tokens.issuer,
        "aud": tokens.issuer,
        "sub": account.to_string(),
        "client_id": account.to_string(),
        "iat": now,
        "nbf": now,
        "exp": ends,
        "jti": uuid::Uuid::new_v4().to_string(),
        "environment": caller.key.environment.as_str(),
        KEY_CLAIM: caller.key.id.to_string(),
    });
    // A scope is never the empty text.
    if let (false, Value::Object(claims)) = (scope.is_empty(), &mut claims) {
        claims.insert("scope".to_owned(), scope.into());
    }
    (claims, ends.saturating_sub(now))
}
