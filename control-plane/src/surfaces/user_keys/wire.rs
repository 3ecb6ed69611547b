//! How surface 4 writes a key.

use keyward_contract::{PlainKey, UnixMillis};
use serde::Serialize;

use crate::domain::user_key::UserKey;

/// A user's key.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    id: i64,
    key_mask: String,
    name: String,
    user_cognito_sub: String,
    creator_cognito_sub: String,
    expires_at: String,
    created_at: String,
    status: &'static str,
}

/// A user's key in the list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedKey {
    #[serde(flatten)]
    key: Key,
    organisation_name: String,
}

/// A user's key in the answer to its making, the only one with its text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewKey<'a> {
    #[serde(flatten)]
    key: Key,
    raw_key: &'a str,
}

impl Key {
    /// As it is now.
    #[must_use]
    pub fn new(key: &UserKey, now: UnixMillis) -> Self {
        Self {
            id: key.number,
            key_mask: key.mask.as_str().to_owned(),
            name: key.name.as_str().to_owned(),
            user_cognito_sub: key.owner.to_string(),
            creator_cognito_sub: key.creator().to_string(),
            expires_at: key.expires_at.to_rfc3339_millis(),
            created_at: key.created_at.to_rfc3339_millis(),
            status: key.status(now).as_str(),
        }
    }
}

impl ListedKey {
    /// As it is now, with what its account is called.
    #[must_use]
    pub fn new(key: &UserKey, now: UnixMillis) -> Self {
        Self {
            key: Key::new(key, now),
            organisation_name: key.organisation.as_str().to_owned(),
        }
    }
}

impl<'a> NewKey<'a> {
    /// As it was made.
    #[must_use]
    pub fn new(key: &UserKey, plain: &'a PlainKey) -> Self {
        Self {
            key: Key::new(key, key.created_at),
            raw_key: plain.expose(),
        }
    }
}

impl std::fmt::Debug for NewKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewKey({:?})", self.key)
    }
}
