//! How surface 4 writes a key.

use keyward_contract::{PlainKey, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::user_key::UserKey;

/// A user's key.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": 1, "keyMask": "pk_live_4f…9aZ", "name": "text", "userCognitoSub": "6fa459ea-ee8a-4ca4-894e-db77e160355e",
    "creatorCognitoSub": "6fa459ea-ee8a-4ca4-894e-db77e160355e", "expiresAt": "2027-10-30T23:19:00.112Z",
    "createdAt": "2026-10-30T23:19:00.112Z", "status": "active",
}))]
pub struct Key {
    #[schema(minimum = 1)]
    id: i64,
    /// What may be shown of it.
    key_mask: String,
    #[schema(min_length = 1, max_length = 50)]
    name: String,
    /// Whose it is.
    #[schema(format = "uuid")]
    user_cognito_sub: String,
    /// Who made it: its user, or an operator for it.
    #[schema(format = "uuid")]
    creator_cognito_sub: String,
    #[schema(format = DateTime)]
    expires_at: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(pattern = "^(active|inactive)$")]
    status: &'static str,
}

/// A user's key in the list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": 1, "keyMask": "pk_live_4f…9aZ", "name": "text", "userCognitoSub": "6fa459ea-ee8a-4ca4-894e-db77e160355e",
    "creatorCognitoSub": "6fa459ea-ee8a-4ca4-894e-db77e160355e", "expiresAt": "2027-10-30T23:19:00.112Z",
    "createdAt": "2026-10-30T23:19:00.112Z", "status": "active",
    "organisationName": "Acme Financial",
}))]
pub struct ListedKey {
    #[serde(flatten)]
    key: Key,
    organisation_name: String,
}

/// A user's key in the answer to its making, the only one with its text.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": 1, "keyMask": "pk_live_4f…9aZ", "name": "text", "userCognitoSub": "6fa459ea-ee8a-4ca4-894e-db77e160355e",
    "creatorCognitoSub": "6fa459ea-ee8a-4ca4-894e-db77e160355e", "expiresAt": "2027-10-30T23:19:00.112Z",
    "createdAt": "2026-10-30T23:19:00.112Z", "status": "active",
    "rawKey": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
}))]
pub struct NewKey<'a> {
    #[serde(flatten)]
    key: Key,
    #[schema(pattern = "^pk_(live|test)_[0-9A-Za-z]{38}$")]
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
