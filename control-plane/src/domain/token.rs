//! JSON Web Tokens: what a text says, who proves it, and whether it holds now. Pure: keys and the time are arguments.
//!
//! A text becomes an [`Unproven`] token, of which nothing may be believed; with the right key that becomes [`Claims`],
//! and [`Claims::check`] says whether they are for us and hold now. Three algorithms are known: a key has one, and a
//! token that names another is refused before any signature is looked at, so that no public key can be used as an HMAC
//! secret. What a header says about keys (`jwk`, `jku`, `x5c`) is never read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_contract::UnixMillis;
use serde::Deserialize;
use serde_json::{Map, Value};

mod claims;
mod keys;
mod signing;

pub use claims::{Claims, Expected};
pub use keys::{KeySet, VerifyingKey};
pub use signing::SigningKey;

/// The most bytes that a token may have.
pub const LONGEST: usize = 8 * 1024;

/// How tokens are signed. There is no `none` and no HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS#1 v1.5, SHA-256.
    Rs256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Why a token isn't believed. Said to logs; callers learn only whether it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It isn't three parts of base64 with JSON objects in them, or is too long.
    Malformed,
    /// It is signed in a way that isn't taken, or not at all.
    Algorithm,
    /// It demands an extension that isn't understood.
    Critical,
    /// It is another kind of token.
    Kind,
    /// Nobody whom we trust issued it.
    Issuer,
    /// Its issuer has no such key.
    UnknownKey,
    /// Its issuer's keys were never to be had: nothing can be said of it yet.
    NoKeys,
    /// The signature is not its issuer's.
    Signature,
    /// It is for somebody else.
    Audience,
    /// It is about nobody.
    Subject,
    /// It says nothing, or nonsense, of when it ends.
    Times,
    /// Its time has not come.
    NotYet,
    /// Its time is over.
    Expired,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm not taken",
            Self::Critical => "unknown critical extension",
            Self::Kind => "another kind of token",
            Self::Issuer => "unknown issuer",
            Self::UnknownKey => "unknown signing key",
            Self::NoKeys => "the issuer's keys were never fetched",
            Self::Signature => "wrong signature",
            Self::Audience => "for another audience",
            Self::Subject => "no subject",
            Self::Times => "no sound expiry",
            Self::NotYet => "not valid yet",
            Self::Expired => "expired",
        })
    }
}

/// A token that was read, and that nobody may believe yet.
#[derive(Debug)]
pub struct Unproven<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Option<String>,
    claims: Claims,
    signed: &'a [u8],
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// Whether a text is to be read as a token: keys have no dots.
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    text.contains(&b'.')
}

impl<'a> Unproven<'a> {
    /// Reads a token in its compact form.
    ///
    /// # Errors
    /// When it is malformed, or signed in a way that isn't taken.
    pub fn parse(text: &'a [u8]) -> Result<Self, Flaw> {
        if text.len() > LONGEST {
            return Err(Flaw::Malformed);
        }
        let mut parts = text.split(|byte| *byte == b'.');
        let (Some(head), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Flaw::Malformed);
        };
        let signed = text.get(..head.len() + 1 + body.len()).ok_or(Flaw::Malformed)?;
        let header: Header = serde_json::from_slice(&decoded(head)?).map_err(|_| Flaw::Malformed)?;
        let algorithm = Algorithm::named(&header.alg).ok_or(Flaw::Algorithm)?;
        if header.crit.is_some() {
            return Err(Flaw::Critical);
        }
        let claims: Map<String, Value> =
            serde_json::from_slice(&decoded(body)?).map_err(|_| Flaw::Malformed)?;
        Ok(Self {
            algorithm,
            key_id: header.kid,
            kind: header.typ,
            claims: Claims::new(claims),
            signed,
            signature: decoded(signature)?,
        })
    }

    /// Who it says that it is from: for choosing whose keys to try, and nothing else.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.text("iss")
    }

    /// Which key it says that it is signed with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// How it says that it is signed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Refuses every kind but these, in lower case; `None` stands for a token that doesn't say. A kind may be written as
    /// a media type.
    ///
    /// # Errors
    /// When it is another kind.
    pub fn of_kind(self, kinds: &[Option<&str>]) -> Result<Self, Flaw> {
        let kind = self.kind.as_deref().map(str::to_ascii_lowercase);
        let kind = kind
            .as_deref()
            .map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
        if kinds.contains(&kind) {
            Ok(self)
        } else {
            Err(Flaw::Kind)
        }
    }

    /// What it says, when it was signed with this key.
    ///
    /// # Errors
    /// When it wasn't, or names another algorithm than the key's.
    pub fn prove(self, key: &VerifyingKey) -> Result<Claims, Flaw> {
        if self.algorithm != key.algorithm() {
            return Err(Flaw::Algorithm);
        }
        if key.verifies(self.signed, &self.signature) {
            Ok(self.claims)
        } else {
            Err(Flaw::Signature)
        }
    }
}

fn decoded(part: &[u8]) -> Result<Vec<u8>, Flaw> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Malformed)
}

/// Seconds since 1970, whole or not, as tokens write instants.
fn instant(value: &Value) -> Option<UnixMillis> {
    const LAST: f64 = 253_402_300_799.0;
    if let Some(seconds) = value.as_i64() {
        let sound = seconds >= 0;
        return sound.then(|| UnixMillis(seconds.saturating_mul(1_000)));
    }
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAST).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, reason = "it was just bounded")]
    Some(UnixMillis((seconds * 1_000.0) as i64))
}

#[cfg(test)]
mod tests;
