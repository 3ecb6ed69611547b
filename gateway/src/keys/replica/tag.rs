//! Authentication tags over everything that the replica keeps on disk: keyed BLAKE3, each kind under a word of
//! its own, so that none can stand in another's place.
//!
//! The key is derived from the digest key that the control plane and its gateways share. Who doesn't hold that
//! can neither make nor change a file that passes. A tag costs about as much as reading the bytes: some GB/s.

use keyward_contract::{AccountId, DigestKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Changing it makes every replica invalid.
const CONTEXT: &str = "keyward 2026-11-22 authentication of a gateway's replica";

/// A whole tag.
pub(super) type Tag = [u8; 32];
/// The tag of a block: half as long, for there are many and each is kept in memory.
pub(super) type BlockTag = [u8; 16];

/// What is tagged.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// A block of records.
    Block = 1,
    /// The list of a base's blocks.
    Index,
    /// What a base says of itself.
    Trailer,
    /// A batch of changes, chained to the one before.
    Frame,
    /// What was acknowledged.
    Acknowledged,
    /// What was heard of an account's quota.
    Quota,
    /// No tag: where an account lies.
    Account,
}

/// The key of all tags. Wiped when dropped; can't be printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct TagKey([u8; 32]);

impl std::fmt::Debug for TagKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TagKey(…)")
    }
}

impl TagKey {
    pub(super) fn new(digest_key: &DigestKey) -> Self {
        Self(blake3::derive_key(CONTEXT, digest_key.expose()))
    }

    /// The tag of these parts, each with its length, so that moving a byte from one to the next shows.
    pub(super) fn tag(&self, kind: Kind, parts: &[&[u8]]) -> Tag {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[kind as u8]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether this is the tag of these parts; takes the same time wherever they differ.
    pub(super) fn is_tag(&self, kind: Kind, parts: &[&[u8]], tag: &[u8]) -> bool {
        <Tag>::try_from(tag)
            .is_ok_and(|tag| blake3::Hash::from_bytes(self.tag(kind, parts)) == blake3::Hash::from_bytes(tag))
    }

    /// The tag of a block that begins at this place of the file.
    pub(super) fn block(&self, offset: u64, block: &[u8]) -> BlockTag {
        let [first, _]: [BlockTag; 2] = halves(self.tag(Kind::Block, &[&offset.to_le_bytes(), block]));
        first
    }

    /// Where an account lies among the keys: spread as evenly as they are.
    pub(super) fn place_of(&self, account: AccountId) -> [u8; 32] {
        self.tag(Kind::Account, &[account.as_uuid().as_bytes()])
    }
}

fn halves(tag: Tag) -> [BlockTag; 2] {
    let mut both = [[0; 16]; 2];
    let (first, second) = tag.split_at(16);
    let [a, b] = &mut both;
    a.copy_from_slice(first);
    b.copy_from_slice(second);
    both
}
