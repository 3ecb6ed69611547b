//! A user's key as surface 4 sees it, and how it is switched off and on. An operator's revocation is this surface's
//! deletion: the key is gone from the list and leaves its place.

use keyward_contract::{AccountId, KeyId, KeyMask, KeyState, UnixMillis};
use uuid::Uuid;

use super::key::ApiKey;
use super::refusal::{Conflict, InvalidField, Refusal};
use super::text::Name;

/// The longest name of a user's key, in characters.
pub const MAX_USER_KEY_NAME: usize = 50;

/// A user's key, with what is shown of its owner and its account.
#[derive(Clone, Debug, PartialEq)]
pub struct UserKey {
    /// Its id, the same on every surface.
    pub id: KeyId,
    /// Its id on this surface.
    pub number: i64,
    /// Whose it is.
    pub account: AccountId,
    /// What its account is called.
    pub organisation: Name,
    /// Who its owner's tokens say it is.
    pub owner: Uuid,
    /// Who made it: its owner's `sub`, or the id of an operator's key.
    pub created_by: String,
    /// What it is called.
    pub name: Name,
    /// What may be shown of it.
    pub mask: KeyMask,
    /// Its own state.
    pub state: KeyState,
    /// The first instant at which it is dead.
    pub expires_at: UnixMillis,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// How a key is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Gateways take it.
    Active,
    /// Gateways refuse it, until it is active again.
    Inactive,
}

impl Switch {
    /// What surface 4 calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }

    /// Reads what a caller sent.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, InvalidField> {
        [Self::Active, Self::Inactive]
            .into_iter()
            .find(|switch| switch.as_str() == text)
            .ok_or_else(|| InvalidField::new(field, "must be active or inactive"))
    }
}

impl UserKey {
    /// Whether gateways take it, as far as it depends on the key: one whose time is over is not.
    #[must_use]
    pub fn status(&self, now: UnixMillis) -> Switch {
        match self.state {
            KeyState::Active if now < self.expires_at => Switch::Active,
            _ => Switch::Inactive,
        }
    }

    /// Who made it: equal to the owner unless it was an operator.
    #[must_use]
    pub fn creator(&self) -> Uuid {
        // What isn't a person or a key (a program, say) acted for the owner.
        Uuid::try_parse(&self.created_by).unwrap_or(self.owner)
    }
}

/// Switches a key. Says whether that changed anything; what is dead for good stays so.
///
/// # Errors
/// When it is to be active, and its time is over or an operator holds it.
pub fn switch(key: &mut ApiKey, to: Switch, now: UnixMillis) -> Result<bool, Refusal> {
    if to == Switch::Active && key.is_expired(now) {
        return Err(InvalidField::new("status", "can't be active: the key has expired").into());
    }
    if to == Switch::Active && key.held_at.is_some() {
        return Err(Conflict::KeyHeld.into());
    }
    let state = match (key.state, to) {
        (KeyState::Active, Switch::Inactive) => KeyState::Disabled,
        (KeyState::Disabled, Switch::Active) => KeyState::Active,
        (KeyState::Active | KeyState::Disabled | KeyState::Revoked | KeyState::Deleted, _) => {
            return Ok(false);
        }
    };
    key.state = state;
    key.updated_at = now;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use keyward_contract::{DigestKey, Environment, KeyKind, PlainKey};

    use super::*;
    use crate::domain::key::{Draft, Origin};

    fn sample() -> ApiKey {
        let plain = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
        let mut key = Draft {
            plain: &plain,
            digest: DigestKey::from_bytes([1; 32]).digest(plain.expose().as_bytes()),
            account: AccountId::new(),
            environment: Environment::Production,
            customer: None,
            origin: Origin::UserKeys,
            api_version: "",
            created_by: "test",
        }
        .issue(UnixMillis(1_000));
        key.expires_at = Some(UnixMillis(5_000));
        key
    }

    #[test]
    fn a_key_is_switched_off_and_on_until_it_expires() {
        let mut key = sample();
        assert_eq!(switch(&mut key, Switch::Active, UnixMillis(2_000)), Ok(false));
        assert_eq!(key.updated_at, UnixMillis(1_000));
        assert_eq!(switch(&mut key, Switch::Inactive, UnixMillis(2_000)), Ok(true));
        assert_eq!(
            (key.state, key.updated_at),
            (KeyState::Disabled, UnixMillis(2_000))
        );
        assert_eq!(switch(&mut key, Switch::Inactive, UnixMillis(2_500)), Ok(false));
        assert_eq!(switch(&mut key, Switch::Active, UnixMillis(4_999)), Ok(true));
        assert_eq!(key.state, KeyState::Active);
        assert!(switch(&mut key, Switch::Active, UnixMillis(5_000)).is_err());
        assert_eq!(switch(&mut key, Switch::Inactive, UnixMillis(5_000)), Ok(true));
        assert!(switch(&mut key, Switch::Active, UnixMillis(5_001)).is_err());
        assert_eq!(key.state, KeyState::Disabled);
    }

    #[test]
    fn what_is_dead_is_never_switched_on() {
        let mut key = sample();
        key.revoke(UnixMillis(2_000));
        assert_eq!(switch(&mut key, Switch::Active, UnixMillis(3_000)), Ok(false));
        key.delete(UnixMillis(3_000));
        assert_eq!(switch(&mut key, Switch::Active, UnixMillis(4_000)), Ok(false));
        assert_eq!(key.state, KeyState::Deleted);
    }
}
