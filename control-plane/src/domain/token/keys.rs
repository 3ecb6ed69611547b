//! The public keys of an issuer, as a JSON Web Key Set. Keys of other kinds and for other uses are left out; a set with
//! none left is no set.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Algorithm, Unproven};

/// More keys than any issuer has.
const MOST_KEYS: usize = 100;

/// A key that proves tokens of one algorithm.
pub struct VerifyingKey {
    algorithm: Algorithm,
    id: Option<String>,
    key: ParsedPublicKey,
}

impl VerifyingKey {
    pub(super) fn ed25519(id: String, public: &[u8]) -> Option<Self> {
        Some(Self {
            algorithm: Algorithm::EdDsa,
            id: Some(id),
            key: ParsedPublicKey::new(&ED25519, public).ok()?,
        })
    }

    /// The one algorithm that it proves.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(signed, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The keys of an issuer.
#[derive(Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JSON Web Key Set.
    ///
    /// # Errors
    /// When it is none, or has no key that could prove a token.
    pub fn parse(text: &[u8]) -> Result<Self, NoKeySet> {
        let set: Jwks = serde_json::from_slice(text).map_err(|_| NoKeySet)?;
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .take(MOST_KEYS)
            .filter_map(|key| serde_json::from_value(key).ok())
            .filter_map(|key: Jwk| key.verifying())
            .collect();
        if keys.is_empty() {
            return Err(NoKeySet);
        }
        Ok(Self(keys))
    }

    /// Whether there is none: nothing was ever fetched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that a token names, be it of the token's algorithm or not. A token that names none is proven by the only
    /// key of its algorithm, if there is only one.
    #[must_use]
    pub fn of(&self, token: &Unproven<'_>) -> Option<&VerifyingKey> {
        let fits = |key: &&VerifyingKey| key.algorithm == token.algorithm();
        let Some(id) = token.key_id() else {
            let mut fitting = self.0.iter().filter(fits);
            return fitting.next().filter(|_| fitting.next().is_none());
        };
        let named = || self.0.iter().filter(|key| key.id.as_deref() == Some(id));
        named().find(fits).or_else(|| named().next())
    }
}

/// A text is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no RSA, P-256 or Ed25519 key that could prove a token")]
pub struct NoKeySet;

impl Jwk {
    fn verifying(self) -> Option<VerifyingKey> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let (algorithm, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Algorithm::Rs256, self.rsa()?),
            ("EC", Some("P-256")) => (Algorithm::Es256, self.p256()?),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, self.ed25519()?),
            _ => return None,
        };
        let says_so = |name: &String| Algorithm::named(name) == Some(algorithm);
        if !self.alg.as_ref().is_none_or(says_so) {
            return None;
        }
        Some(VerifyingKey {
            algorithm,
            id: self.kid,
            key,
        })
    }

    fn rsa(&self) -> Option<ParsedPublicKey> {
        let (n, e) = (number(self.n.as_ref()?)?, number(self.e.as_ref()?)?);
        // 2048 to 8192 bits; a long exponent would only make every proof slow.
        if !(256..=1024).contains(&n.len()) || e.len() > 4 {
            return None;
        }
        RsaPublicKeyComponents { n, e }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .ok()
    }

    fn p256(&self) -> Option<ParsedPublicKey> {
        let (x, y) = (coordinate(self.x.as_ref()?)?, coordinate(self.y.as_ref()?)?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
    }

    fn ed25519(&self) -> Option<ParsedPublicKey> {
        ParsedPublicKey::new(&ED25519, coordinate(self.x.as_ref()?)?).ok()
    }
}

/// A whole number; some issuers write leading zeros.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(first..).map(<[u8]>::to_vec)
}

fn coordinate(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
