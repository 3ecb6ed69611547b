//! The keyed digest by which every key is found: BLAKE3 in keyed mode over the key's whole text.
//!
//! The control plane and its gateways share the digest key; without it neither the feed nor a replica lets
//! anyone test guesses. One digest of a 46-byte key costs about 80 ns.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The secret shared by the control plane and its gateways. Wiped when dropped; can't be printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// Takes 32 secret bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Makes one from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The secret bytes, to be stored or sent over an authenticated stream.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of a key's text.
    #[must_use]
    pub fn digest(&self, key: &[u8]) -> KeyDigest {
        KeyDigest(*blake3::keyed_hash(&self.0, key).as_bytes())
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

/// A key's keyed digest: what is stored, sent and looked up instead of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// A digest that was stored or received.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first eight bytes as a number: evenly spread, for choosing slots and shards.
    #[must_use]
    pub fn head(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeyDigest({}…)",
            hex::encode(self.0.get(..4).unwrap_or_default())
        )
    }
}
