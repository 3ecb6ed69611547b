//! A key of our own: Ed25519, known by the thumbprint of its public part (RFC 7638). About 30 µs to make from its secret
//! or to sign with.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::VerifyingKey;

/// The bytes of the secret.
const SECRET: usize = 32;
/// The kind of the tokens that it signs (RFC 9068).
pub(super) const KIND: &str = "at+jwt";

/// A key that signs our tokens. Can't be printed.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

impl SigningKey {
    /// What a token signed by us says of its kind.
    pub const KINDS: [Option<&'static str>; 1] = [Some(KIND)];

    /// The secret of a new key.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new_secret() -> Result<Zeroizing<[u8; SECRET]>, getrandom::Error> {
        let mut secret = Zeroizing::new([0; SECRET]);
        getrandom::fill(secret.as_mut_slice())?;
        Ok(secret)
    }

    /// The key with this secret; `None` when that is no secret of a key.
    #[must_use]
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        let secret: &[u8; SECRET] = secret.try_into().ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(secret).ok()?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
        Some(Self { pair, id })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public part, for a JSON Web Key Set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref()),
            "kid": self.id,
            "alg": "EdDSA",
            "use": "sig",
        })
    }

    /// Its public part, for proving tokens.
    #[must_use]
    pub fn verifying(&self) -> Option<VerifyingKey> {
        VerifyingKey::ed25519(self.id.clone(), self.pair.public_key().as_ref())
    }

    /// A token that says this; `None` when signing fails.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> Option<String> {
        let header = json!({"alg": "EdDSA", "typ": KIND, "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.try_sign(signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}
