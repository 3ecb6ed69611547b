//! `POST /admin/customers/{customer_id}/users`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::AccountId;

use super::UserBody;
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::text::{self, Name};
use crate::domain::user::MAX_USER_NAME;
use crate::operations::identify::AdminCaller;
use crate::operations::users::{self, NewUser};
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Makes a user of an account.
///
/// # Errors
/// When the account isn't there or is cancelled, a field is missing or breaks a rule, or the `sub` is taken.
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Id(account): Id<AccountId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
    let made = users::create(&app.registry, &caller.actor, account, wanted).await?;
    let body = axum::Json(UserBody::from(&made.value));
    Ok(settled::with(&made.settled, (StatusCode::CREATED, body)))
}

fn wanted(fields: &Fields) -> Result<NewUser, InvalidField> {
    Ok(NewUser {
        sub: super::sub(fields)?.or_null(),
        name: Name::parse("name", fields.text("name")?.required("name")?, MAX_USER_NAME)?,
        email: text::email("email", fields.text("email")?.required("email")?)?,
        claims: super::claims(fields)?.or_null().unwrap_or_default(),
        permissions: super::permissions(fields)?.or_null().unwrap_or_default(),
    })
}
