//! Sealing what must be shown again: XChaCha20-Poly1305 under the master key.
//!
//! What is sealed is bound to a context (a key's id, an answer's scope): opened under another one it fails, so that
//! a row copied over another row shows nothing. The nonce is 24 bytes of OS randomness, kept in front.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const NONCE: usize = 24;

/// The secret that seals. Wiped when dropped; can't be printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// Takes 32 secret bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals a secret for one context.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError)?;
        self.seal_under(nonce, context, secret)
    }

    /// Never twice under the same nonce.
    fn seal_under(&self, nonce: [u8; NONCE], context: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let payload = Payload {
            msg: secret,
            aad: context,
        };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this context.
    ///
    /// # Errors
    /// When it was sealed for another context, under another key, or was changed.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or(SealError)?;
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        self.cipher()
            .decrypt(&XNonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealError)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Something could not be sealed or opened. Says nothing of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value can't be opened or made")]
pub struct SealError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_own_context_and_key() {
        let master = MasterKey::from_bytes([7; 32]);
        let sealed = master.seal(b"key 1", b"ck_live_secret").unwrap();
        assert_eq!(
            master.open(b"key 1", &sealed).unwrap().as_slice(),
            b"ck_live_secret"
        );
        assert_eq!(master.open(b"key 2", &sealed), Err(SealError));
        assert_eq!(
            MasterKey::from_bytes([8; 32]).open(b"key 1", &sealed),
            Err(SealError)
        );
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let master = MasterKey::from_bytes([7; 32]);
        let sealed = master.seal(b"key", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(master.open(b"key", &changed), Err(SealError));
            assert_eq!(master.open(b"key", &sealed[..at]), Err(SealError));
        }
    }

    /// Made by another implementation: a change of the form would make every sealed key unreadable.
    #[test]
    fn what_was_sealed_elsewhere_opens_here_and_the_other_way_round() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../vectors/sealing.json")).unwrap();
        let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
        let master = MasterKey::from_bytes(bytes(&vectors["master_key"]).try_into().unwrap());
        let rows = vectors["sealed"].as_array().unwrap();
        for row in rows {
            let context = row["key_id"].as_str().unwrap().as_bytes();
            let plain = row["plaintext"].as_str().unwrap().as_bytes();
            let (nonce, sealed) = (bytes(&row["nonce"]).try_into().unwrap(), bytes(&row["sealed"]));
            assert_eq!(master.open(context, &sealed).unwrap().as_slice(), plain);
            assert_eq!(master.seal_under(nonce, context, plain).unwrap(), sealed);
        }
        assert!(rows.len() >= 3);
    }

    #[test]
    fn the_same_secret_is_never_sealed_to_the_same_bytes() {
        let master = MasterKey::from_bytes([7; 32]);
        assert_ne!(master.seal(b"k", b"s").unwrap(), master.seal(b"k", b"s").unwrap());
    }
}
