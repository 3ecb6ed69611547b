//! How surface 3 writes keys and pages of them, and reads the fields of a key.

use std::fmt;

use keyward_contract::{AccountId, AddressList, KeyId, PlainKey, UnixMillis, UserId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::key::Standing;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::company_keys::Shown;
use crate::surfaces::fields::{Fields, Given};

/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 200;

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<'a> {
    /// The status of the answer, 200.
    #[schema(minimum = 200, maximum = 200)]
    pub status: u16,
    /// How many keys have the status that was asked for, on all pages.
    #[schema(minimum = 0)]
    pub total: i64,
    /// How many are on this page.
    pub count: usize,
    /// Path and query of the page of older keys.
    #[schema(required = true, pattern = "^/keys[?]")]
    pub next_url: Option<String>,
    /// Path and query of the page of newer keys.
    #[schema(required = true, pattern = "^/keys[?]")]
    pub previous_url: Option<String>,
    /// The keys, newest first.
    #[schema(max_items = 100)]
    pub data: Vec<Key<'a>>,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f", "companyId": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "userId": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d84", "key": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
    "whitelistedIPs": ["203.0.113.0/24"], "apiVersion": "2026-11-01",
    "apiVersionUpdatedAt": "2026-11-20T10:30:00.000Z", "apiVersionDowngradeNotAllowedAfter": null,
    "status": "active", "description": "the billing service", "createdAt": "2026-11-20T10:30:00.000Z",
    "updatedAt": "2026-11-20T10:30:00.000Z", "deletedAt": null,
}))]
pub struct Key<'a> {
    #[schema(value_type = String, format = "uuid")]
    id: KeyId,
    #[schema(value_type = String, format = "uuid")]
    company_id: AccountId,
    /// Whose it is; null when it is nobody's in particular.
    #[schema(value_type = Option<String>, format = "uuid", required = true)]
    user_id: Option<UserId>,
    /// The key in clear, when it was made here and is active.
    #[schema(required = true, pattern = "^pk_(live|test)_[0-9A-Za-z]{38}$")]
    key: Option<&'a str>,
    /// The addresses from which it may be used; null: from all.
    #[serde(rename = "whitelistedIPs")]
    #[schema(required = true)]
    whitelisted_ips: Option<Vec<String>>,
    /// The version of the API that it is pinned to.
    #[schema(required = true, format = Date)]
    api_version: Option<&'a str>,
    #[schema(format = DateTime)]
    api_version_updated_at: String,
    /// Until when it may go back to an earlier version; null: it was never moved.
    #[schema(required = true, format = DateTime)]
    api_version_downgrade_not_allowed_after: Option<String>,
    status: Status,
    #[schema(required = true)]
    description: Option<&'a str>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    #[schema(required = true, format = DateTime)]
    deleted_at: Option<String>,
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It may.
    Active,
    /// It is disabled, revoked, deleted or expired.
    Inactive,
}

impl Status {
    /// Reads a status as it was typed.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(field: &'static str, typed: &str) -> Result<Self, InvalidField> {
        match typed {
            "active" => Ok(Self::Active),
            "inactive" => Ok(Self::Inactive),
            _ => Err(InvalidField::new(field, "must be active or inactive")),
        }
    }

    /// How it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Inactive => Self::Inactive,
        }
    }
}

impl From<Status> for Standing {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Inactive => Self::Inactive,
        }
    }
}

impl<'a> Key<'a> {
    /// With its text, where there is one to show.
    #[must_use]
    pub fn new(shown: &'a Shown) -> Self {
        let key = &shown.key;
        let version = &key.api_version;
        Self {
            id: key.id,
            company_id: key.account,
            user_id: key.user,
            key: shown.plain.as_ref().map(PlainKey::expose),
            whitelisted_ips: key.allowed_ips.as_ref().map(AddressList::to_strings),
            api_version: Some(version.version.as_str()).filter(|version| !version.is_empty()),
            api_version_updated_at: version.changed_at.to_rfc3339_millis(),
            api_version_downgrade_not_allowed_after: version
                .no_downgrade_after
                .map(UnixMillis::to_rfc3339_millis),
            status: shown.standing.into(),
            description: key.name.as_ref().map(Name::as_str),
            created_at: key.created_at.to_rfc3339_millis(),
            updated_at: key.updated_at.to_rfc3339_millis(),
            deleted_at: key.deleted_at.map(UnixMillis::to_rfc3339_millis),
        }
    }
}

impl fmt::Debug for Key<'_> {
    /// Without the key's text, which is in clear here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// `description`, as it was sent.
///
/// # Errors
/// When it is no text of 1 to 200 characters.
pub fn description(fields: &Fields) -> Result<Given<Name>, InvalidField> {
    fields
        .text("description")?
        .read(|typed| Name::parse("description", typed, MAX_DESCRIPTION))
}

/// `whitelistedIPs`, as it was sent.
///
/// # Errors
/// When it is empty, or holds what is no address and no block; the error names the entry.
pub fn whitelisted_ips(fields: &Fields) -> Result<Given<AddressList>, InvalidField> {
    const FIELD: &str = "whitelistedIPs";
    fields.array(FIELD)?.read(|entries| {
        let texts: Vec<&str> = entries.iter().map(text).collect::<Result<_, _>>()?;
        AddressList::parse(&texts).map_err(|error| InvalidField::new(FIELD, format!("is refused: {error}")))
    })
}

fn text(entry: &Value) -> Result<&str, InvalidField> {
    entry.as_str().ok_or_else(|| {
        let written: String = entry.to_string().chars().take(64).collect();
        InvalidField::new("whitelistedIPs", format!("is refused: `{written}` is no text"))
    })
}
