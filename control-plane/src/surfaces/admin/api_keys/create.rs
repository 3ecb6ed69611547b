//! `POST /admin/customers/{customer_id}/api-keys`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::{AccountId, AccountStatus, AddressList, Environment, UserId};

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

/// Makes an account key, which is shown in this answer and never again. With `user_id` it is a key of that user, as
/// if the user had made it on surface 4.
///
/// # Errors
/// When the account or the user isn't there, the account isn't active or has as many keys of users as it may, or a
/// field breaks a rule.
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
    let mut body = wire::key(key, AccountStatus::Active, None, key.created_at);
    if let Some(body) = body.as_object_mut() {
        body.insert("api_key".into(), plain.expose().into());
    }
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
    let mut body = wire::key(key, AccountStatus::Active, None, key.created_at);
    if let Some(body) = body.as_object_mut() {
        body.insert("user_id".into(), user.to_string().into());
        body.insert("api_key".into(), made.value.plain.expose().into());
    }
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
        allowed_ips: fields
            .texts("allowed_ips")?
            .read(|entries| {
                AddressList::parse(&entries)
                    .map_err(|error| InvalidField::new("allowed_ips", error.to_string()))
            })?
            .or_null(),
    })
}
