//! `POST /admin/customers/{customer_id}/api-keys`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::{AccountId, AccountStatus, Environment, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::domain::user_key::MAX_USER_KEY_NAME;
use crate::operations::account_keys::{self, NewKey};
use crate::operations::identify::AdminCaller;
use crate::operations::user_keys::{self, NewUserKey};
use crate::surfaces::admin::wire;
use crate::surfaces::body::MaybeJson;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// The longest name of a key, in characters.
pub(super) const MAX_KEY_NAME: usize = 100;

/// A key to be made: the account's, or one of its users'.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum KeyWanted {
    /// The account's.
    Account(AccountKeyWanted),
    /// A user's.
    User(UserKeyWanted),
}

/// A key of the account's. Everything may be left out, the body too.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "name": "ci", "environment": "production", "expires_at": "2099-12-31", "allowed_ips": ["203.0.113.0/24"],
}))]
pub struct AccountKeyWanted {
    /// Nobody.
    #[schema(value_type = Option<String>, format = "never")]
    pub user_id: Option<()>,
    /// What it is called.
    #[schema(format = "name-100")]
    pub name: Option<String>,
    /// `production` when left out.
    #[schema(format = "environment", nullable = false)]
    pub environment: Option<String>,
    /// From when on it is dead: a date or date-time in the future.
    #[schema(format = "future")]
    pub expires_at: Option<String>,
    /// The addresses and CIDR blocks from which it may be used; null: from all.
    #[schema(format = "address", min_items = 1, max_items = 100)]
    pub allowed_ips: Option<Vec<String>>,
}

/// A key of a user's, as if the user had made it on surface 4.
#[derive(Debug, ToSchema)]
pub struct UserKeyWanted {
    /// The user.
    #[schema(format = "uuid")]
    pub user_id: String,
    /// What it is called.
    #[schema(format = "name-50")]
    pub name: String,
    /// `production` when left out.
    #[schema(format = "environment", nullable = false)]
    pub environment: Option<String>,
    /// From when on it is dead: a date or date-time in the future; after the usual lifetime when left out.
    #[schema(format = "future")]
    pub expires_at: Option<String>,
    /// The addresses and CIDR blocks from which it may be used; null: from all.
    #[schema(format = "address", min_items = 1, max_items = 100)]
    pub allowed_ips: Option<Vec<String>>,
}

/// A new key, in clear this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f", "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "name": "ci", "environment": "production", "status": "active", "mask": "pk_live_4f…2C3",
    "allowed_ips": null, "created_at": "2026-01-19T10:30:00Z", "expires_at": null, "revoked_at": null,
    "last_used_at": null, "api_key": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
}))]
pub struct KeyMade<'a> {
    #[serde(flatten)]
    key: wire::Key,
    /// Whose it is, when it is a user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = "uuid", required = false)]
    user_id: Option<UserId>,
    #[schema(pattern = "^pk_(live|test)_[0-9A-Za-z]{38}$")]
    api_key: &'a str,
}

/// Makes an account key, which is shown in this answer and never again. With `user_id` it is a key of that user, as
/// if the user had made it on surface 4.
///
/// # Errors
/// When the account or the user isn't there, the account isn't active or has as many keys of users as it may, or a
/// field breaks a rule.
#[utoipa::path(
    post,
    path = "/admin/customers/{customer_id}/api-keys",
    operation_id = "createKey",
    tag = "keys",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    request_body = Option<KeyWanted>,
    responses(
        (status = 201, description = "Made. Save the key: it is not shown again.", body = KeyMade),
        (status = 409, description = "The account isn't active, or has as many keys of users as it may."),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<AccountId>,
    MaybeJson(fields): MaybeJson,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
    if let Some(user) = user(&fields)? {
        return create_for(&app, &caller, id, of_user(user, wanted)?).await;
    }
    let made = account_keys::create(&app.registry, &caller.actor, id, wanted).await?;
    let (key, plain) = &made.value;
    let body = KeyMade {
        key: wire::key(key, AccountStatus::Active, None, key.created_at),
        user_id: None,
        api_key: plain.expose(),
    };
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}

async fn create_for(
    app: &App,
    caller: &AdminCaller,
    account: AccountId,
    wanted: NewUserKey,
) -> Result<Response, Problem> {
    let user = wanted.user;
    let made = user_keys::create_for(&app.registry, &caller.actor, account, wanted).await?;
    let key = &made.value.key;
    let body = KeyMade {
        key: wire::key(key, AccountStatus::Active, None, key.created_at),
        user_id: Some(user),
        api_key: made.value.plain.expose(),
    };
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}

fn user(fields: &Fields) -> Result<Option<UserId>, InvalidField> {
    let user = fields.text("user_id")?.read(|text| {
        text.parse()
            .map_err(|_| InvalidField::new("user_id", "must be a user's id"))
    })?;
    Ok(user.or_null())
}

/// A user's key has a name, like those that users make.
fn of_user(user: UserId, wanted: NewKey) -> Result<NewUserKey, InvalidField> {
    let name = wanted
        .name
        .ok_or_else(|| InvalidField::new("name", "is required for a user's key"))?;
    Ok(NewUserKey {
        user,
        name: Name::parse("name", name.as_str(), MAX_USER_KEY_NAME)?,
        environment: wanted.environment,
        expires_at: wanted.expires_at,
        allowed_ips: wanted.allowed_ips,
    })
}

fn wanted(fields: &Fields) -> Result<NewKey, InvalidField> {
    Ok(NewKey {
        name: fields
            .text("name")?
            .read(|typed| Name::parse("name", typed, MAX_KEY_NAME))?
            .or_null(),
        environment: fields
            .text("environment")?
            .read(|text| {
                text.parse()
                    .map_err(|()| InvalidField::new("environment", "must be test or production"))
            })?
            .not_null("environment")?
            .unwrap_or(Environment::Production),
        expires_at: fields
            .text("expires_at")?
            .read(|text| moment::instant("expires_at", text))?
            .or_null(),
        allowed_ips: wire::allowed_ips(fields)?.or_null(),
    })
}
