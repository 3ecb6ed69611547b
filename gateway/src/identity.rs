//! Signed identities: `Keyward-Identity`, a JWT (RFC 7519) signed with Ed25519 (RFC 8037), so that an upstream need not
//! trust its network.
//!
//! It says what the `Keyward-*` headers say, for `identity.lifetime` at most and never beyond the end of the key, the
//! end customer's key or the contract. A worker signs one for each key (and end customer, and upstream) and hands it on
//! until half of its life is over ([`tokens`]); when a record changed, the next call's is a new one. The public keys are
//! at the admin listener, by the thumbprint of each (RFC 7638).
//!
//! Opening fails when a key can't be read or made; signing fails only when the library does, and then the call is
//! refused: no call goes on without the identity that its upstream relies on. Cost: see [`tokens`]; a signature is
//! about 20 µs.

use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use keyward_config::IdentityTokens;
use keyward_contract::{AccountId, EnvironmentId, KeyId, UnixMillis};
use serde::Serialize;
use serde_json::json;

use crate::admission::Caller;
use crate::clock::Now;
use crate::rejection::Rejection;
use crate::route::Route;
use crate::rules::Rules;
use crate::worker::Worker;

pub mod tokens;

mod key_file;

use key_file::PublicKey;
use tokens::For;

/// Signs identities, and knows which keys to publish.
pub struct Signer {
    key: Ed25519KeyPair,
    /// The encoded JOSE header and the dot after it.
    header: String,
    issuer: String,
    audience: Option<String>,
    lifetime_ms: i64,
    jwks: Arc<str>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// What a token says.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: AccountId,
    environment: EnvironmentId,
    key_id: KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    tier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'a str>,
    iat: i64,
    exp: i64,
}

/// A token was not signed: the library failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity could not be signed")]
pub struct Unsigned;

impl Signer {
    /// Reads the keys; makes the one that signs when it is absent.
    ///
    /// # Errors
    /// When a file can't be read or made, or holds no Ed25519 key.
    pub fn open(config: &IdentityTokens) -> anyhow::Result<Self> {
        let key = key_file::open_or_make(&config.key_file)
            .with_context(|| format!("identity.key_file: can't use {}", config.key_file.display()))?;
        let own = PublicKey::of(&key);
        let mut published = vec![own];
        for file in &config.other_key_files {
            let other = PublicKey::read(file)
                .with_context(|| format!("identity.other_key_files: can't use {}", file.display()))?;
            if !published.contains(&other) {
                published.push(other);
            }
        }
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": own.thumbprint() });
        Ok(Self {
            header: format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string())),
            key,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_ms: i64::try_from(config.lifetime.as_millis()).unwrap_or(i64::MAX),
            jwks: jwks(&published).into(),
        })
    }

    /// The public keys, as a JWK Set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> &Arc<str> {
        &self.jwks
    }

    /// What the claim `aud` is for calls to this upstream.
    #[must_use]
    pub fn audience<'a>(&'a self, upstream: &'a str) -> &'a str {
        self.audience.as_deref().unwrap_or(upstream)
    }

    /// A new token for a caller, and when it ends, in milliseconds.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign(
        &self,
        caller: &Caller,
        audience: &str,
        now: UnixMillis,
    ) -> Result<(String, UnixMillis), Unsigned> {
        let account = &caller.policy().record;
        let ends = last_moment(caller).map_or(i64::MAX, |end| end.0);
        let ends = now.0.saturating_add(self.lifetime_ms).min(ends);
        let key = &caller.key().record;
        let claims = Claims {
            iss: &self.issuer,
            aud: audience,
            sub: account.id,
            environment: account.environment_id(caller.environment()),
            key_id: key.id,
            customer: caller.customer().map(|customer| customer.id.as_str()),
            tier: &account.tier,
            api_version: Some(key.api_version.as_str()).filter(|version| !version.is_empty()),
            // Whole seconds, towards the past: it is never good before it was made, nor after its end.
            iat: now.0.div_euclid(1_000),
            exp: ends.div_euclid(1_000),
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| Unsigned)?;
        let mut token = String::with_capacity(768);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.key.try_sign(token.as_bytes()).map_err(|_| Unsigned)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok((token, UnixMillis(ends)))
    }
}

/// The first instant at which a caller has nothing to call with any more, as far as that is known.
fn last_moment(caller: &Caller) -> Option<UnixMillis> {
    let keys = [Some(caller.key()), caller.customer_key()];
    let keys = keys.into_iter().flatten().filter_map(|key| key.record.expires_at);
    keys.chain(caller.policy().record.contract.end).min()
}

fn jwks(keys: &[PublicKey]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": key.thumbprint(), "x": key.encoded(),
            })
        })
        .collect();
    format!("{:#}\n", json!({ "keys": keys }))
}

/// The identity that goes on with a call to this upstream, where its route hands one on.
///
/// # Errors
/// `Internal` when it can't be signed.
pub fn of_call(
    (worker, rules): (&Worker, &Rules),
    route: &Route,
    caller: Option<&Caller>,
    (upstream, now): (usize, Now),
) -> Result<Option<HeaderValue>, Rejection> {
    if !route.identity_token {
        return Ok(None);
    }
    let (Some(caller), Some(signer)) = (caller, &rules.signer) else {
        return Ok(None);
    };
    let name = rules.config.upstreams.get(upstream);
    let upstream = For {
        index: upstream,
        name: name.map_or("", |upstream| &upstream.name),
    };
    let token = worker.tokens().of(signer, caller, upstream, now.unix);
    token.map(Some).map_err(|_| Rejection::Internal)
}

/// What is published where no route asks for identities.
#[must_use]
pub fn no_keys() -> Arc<str> {
    jwks(&[]).into()
}

impl PublicKey {
    fn of(key: &Ed25519KeyPair) -> Self {
        let mut bytes = [0; 32];
        // An Ed25519 public key has 32 bytes (RFC 8032 §5.1.5).
        bytes.copy_from_slice(key.public_key().as_ref());
        Self(bytes)
    }
}
