//! API keys: account keys and customer keys of all surfaces, and how they live and die.

use std::time::Duration;

use keyward_contract::{
    AccountId, AddressList, CustomerId, Environment, KeyDigest, KeyId, KeyMask, KeyRecord, KeyState, Limits,
    PlainKey, UnixMillis, UserId,
};

use super::refusal::Conflict;
use super::text::Name;

/// The surface that a key was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Surface 1.
    Portal,
    /// Surface 2.
    Admin,
    /// Surface 3.
    Keys,
    /// Surface 4.
    UserKeys,
}

impl Origin {
    const ALL: [Self; 4] = [Self::Portal, Self::Admin, Self::Keys, Self::UserKeys];

    /// How the store writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Admin => "admin",
            Self::Keys => "keys",
            Self::UserKeys => "user-keys",
        }
    }

    /// Reads what [`Origin::as_str`] wrote.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == text)
    }
}

/// A stored key.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// Its id, the same on every surface.
    pub id: KeyId,
    /// Its place in the order in which keys were made; 0 until it is stored.
    pub number: i64,
    /// Whose it is.
    pub account: AccountId,
    /// Where it is valid.
    pub environment: Environment,
    /// The end customer of a customer key.
    pub customer: Option<CustomerId>,
    /// The user that an account key belongs to.
    pub user: Option<UserId>,
    /// Where it was made.
    pub origin: Origin,
    /// What it is called.
    pub name: Option<Name>,
    /// What may be shown of it.
    pub mask: KeyMask,
    /// How it is found.
    pub digest: KeyDigest,
    /// Its text under the master key, for keys that must be shown again.
    pub sealed: Option<Vec<u8>>,
    /// Its own state, whatever its account's is.
    pub state: KeyState,
    /// The first instant at which it is dead.
    pub expires_at: Option<UnixMillis>,
    /// Where it may be used from.
    pub allowed_ips: Option<AddressList>,
    /// The API version that it is pinned to.
    pub api_version: ApiVersionPin,
    /// Since when it is in its rotation grace.
    pub rotated_at: Option<UnixMillis>,
    /// Since when an operator, or the policy for leaked keys, holds it disabled: whose it is can't enable it.
    pub held_at: Option<UnixMillis>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
    /// Since when it is revoked.
    pub revoked_at: Option<UnixMillis>,
    /// Since when it is deleted.
    pub deleted_at: Option<UnixMillis>,
}

/// Whether a key itself may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// It is disabled, revoked, deleted or expired.
    Inactive,
}

/// The API version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionPin {
    /// The version; empty when there are none.
    pub version: String,
    /// Since when.
    pub changed_at: UnixMillis,
    /// From when on it can't go back.
    pub no_downgrade_after: Option<UnixMillis>,
}

/// A key that is about to be made.
#[derive(Debug)]
pub struct Draft<'a> {
    /// Its text.
    pub plain: &'a PlainKey,
    /// The digest of its text.
    pub digest: KeyDigest,
    /// Whose it is.
    pub account: AccountId,
    /// Where it is valid.
    pub environment: Environment,
    /// The end customer of a customer key.
    pub customer: Option<CustomerId>,
    /// Where it is made.
    pub origin: Origin,
    /// The API version that it is pinned to.
    pub api_version: &'a str,
    /// Who makes it.
    pub created_by: &'a str,
}

impl Draft<'_> {
    /// The key, active from now on, not sealed, without a name, an expiry or an address list.
    #[must_use]
    pub fn issue(self, now: UnixMillis) -> ApiKey {
        ApiKey {
            id: KeyId::new(),
            number: 0,
            account: self.account,
            environment: self.environment,
            customer: self.customer,
            user: None,
            origin: self.origin,
            name: None,
            mask: self.plain.mask(),
            digest: self.digest,
            sealed: None,
            state: KeyState::Active,
            expires_at: None,
            allowed_ips: None,
            api_version: ApiVersionPin {
                version: self.api_version.to_owned(),
                changed_at: now,
                no_downgrade_after: None,
            },
            rotated_at: None,
            held_at: None,
            created_by: self.created_by.to_owned(),
            created_at: now,
            updated_at: now,
            revoked_at: None,
            deleted_at: None,
        }
    }
}

impl ApiKey {
    /// Whether the key itself may be used; its account has a say too.
    #[must_use]
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.state == KeyState::Active && !self.is_expired(now)
    }

    /// Whether it may be used, as an answer.
    #[must_use]
    pub fn standing(&self, now: UnixMillis) -> Standing {
        if self.is_live(now) {
            Standing::Active
        } else {
            Standing::Inactive
        }
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Kills it for good. Says whether it was alive before.
    pub fn revoke(&mut self, now: UnixMillis) -> bool {
        match self.state {
            KeyState::Revoked | KeyState::Deleted => false,
            KeyState::Active | KeyState::Disabled => {
                self.state = KeyState::Revoked;
                self.revoked_at = Some(now);
                self.updated_at = now;
                true
            }
        }
    }

    /// Kills it for good and takes it off the lists.
    pub fn delete(&mut self, now: UnixMillis) {
        self.revoke(now);
        self.state = KeyState::Deleted;
        self.deleted_at = Some(now);
        self.updated_at = now;
    }

    /// Makes way for a replacement: dead at once, or after the grace at the latest.
    ///
    /// # Errors
    /// When it is dead already, or was replaced before.
    pub fn retire(&mut self, now: UnixMillis, grace: Duration) -> Result<UnixMillis, Conflict> {
        if !self.is_live(now) {
            return Err(Conflict::KeyNotActive);
        }
        if self.rotated_at.is_some() {
            return Err(Conflict::KeyInGrace);
        }
        if grace.is_zero() {
            self.revoke(now);
            return Ok(now);
        }
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let end = UnixMillis(now.0.saturating_add(grace_ms));
        let dies_at = self.expires_at.map_or(end, |at| at.min(end));
        self.expires_at = Some(dies_at);
        self.rotated_at = Some(now);
        self.updated_at = now;
        Ok(dies_at)
    }

    /// The key that takes this one's place: owner, origin, name, environment, address list, version and expiry
    /// are kept; id, text and number are its own. Call it before [`ApiKey::retire`], which shortens the expiry.
    #[must_use]
    pub fn replacement(&self, plain: &PlainKey, digest: KeyDigest, made: Made<'_>) -> Self {
        Self {
            id: KeyId::new(),
            number: 0,
            mask: plain.mask(),
            digest,
            sealed: None,
            state: KeyState::Active,
            rotated_at: None,
            held_at: None,
            created_by: made.by.to_owned(),
            created_at: made.at,
            updated_at: made.at,
            revoked_at: None,
            deleted_at: None,
            ..self.clone()
        }
    }

    /// What gateways are told of it.
    #[must_use]
    pub fn record(&self, customer_limits: Option<Limits>) -> KeyRecord {
        KeyRecord {
            digest: self.digest,
            id: self.id,
            account: self.account,
            environment: self.environment,
            customer: self.customer,
            state: self.state,
            expires_at: self.expires_at,
            allowed_ips: self.allowed_ips.clone(),
            api_version: self.api_version.version.clone(),
            rotated_at: self.rotated_at,
            customer_limits,
        }
    }
}

/// Who made something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// The actor's id.
    pub by: &'a str,
    /// The instant.
    pub at: UnixMillis,
}

/// How the store writes a key's own state.
#[must_use]
pub fn state_as_str(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Disabled => "disabled",
        KeyState::Revoked => "revoked",
        KeyState::Deleted => "deleted",
    }
}

/// Reads what [`state_as_str`] wrote.
///
/// # Errors
/// When it is no state.
pub fn state_from_str(text: &str) -> Result<KeyState, String> {
    match text {
        "active" => Ok(KeyState::Active),
        "disabled" => Ok(KeyState::Disabled),
        "revoked" => Ok(KeyState::Revoked),
        "deleted" => Ok(KeyState::Deleted),
        other => Err(format!("`{other}` is no key state")),
    }
}

#[cfg(test)]
mod tests {
    use keyward_contract::{DigestKey, KeyKind};

    use super::*;

    fn sample() -> ApiKey {
        let plain = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
        let digest = DigestKey::from_bytes([1; 32]).digest(plain.expose().as_bytes());
        Draft {
            plain: &plain,
            digest,
            account: AccountId::new(),
            environment: Environment::Production,
            customer: None,
            origin: Origin::Admin,
            api_version: "2026-11-01",
            created_by: "test",
        }
        .issue(UnixMillis(1_000))
    }

    #[test]
    fn a_key_is_dead_from_the_moment_it_expires() {
        let mut key = sample();
        key.expires_at = Some(UnixMillis(2_000));
        assert!(key.is_live(UnixMillis(1_999)));
        assert!(!key.is_live(UnixMillis(2_000)));
    }

    #[test]
    fn grace_never_lengthens_a_life() {
        let mut key = sample();
        key.expires_at = Some(UnixMillis(5_000));
        assert_eq!(
            key.retire(UnixMillis(2_000), Duration::from_secs(60)),
            Ok(UnixMillis(5_000))
        );
        assert!(key.is_live(UnixMillis(4_999)));
        assert_eq!(
            key.retire(UnixMillis(3_000), Duration::ZERO),
            Err(Conflict::KeyInGrace)
        );
    }

    #[test]
    fn without_grace_the_old_key_is_dead_at_once_and_stays_dead() {
        let mut key = sample();
        assert_eq!(
            key.retire(UnixMillis(2_000), Duration::ZERO),
            Ok(UnixMillis(2_000))
        );
        assert!(!key.is_live(UnixMillis(2_000)));
        assert!(!key.revoke(UnixMillis(9_000)));
        assert_eq!(key.revoked_at, Some(UnixMillis(2_000)));
        assert_eq!(
            key.retire(UnixMillis(3_000), Duration::ZERO),
            Err(Conflict::KeyNotActive)
        );
    }
}
