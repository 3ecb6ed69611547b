//! `POST /admin/customers/{customer_id}/api-keys`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::{AccountId, AccountStatus, AddressList, Environment};

use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::account_keys::{self, NewKey};
use crate::operations::identify::AdminCaller;
use crate::surfaces::admin::wire;
use crate::surfaces::body::MaybeJson;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// The longest name of a key, in characters.
pub(super) const MAX_KEY_NAME: usize = 100;

/// Makes an account key, which is shown in this answer and never again.
///
/// # Errors
/// When the account isn't there or isn't active, or a field breaks a rule.
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<AccountId>,
    MaybeJson(fields): MaybeJson,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
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
