//! `PUT` and `PATCH /admin/customers/{customer_id}/users/{user_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, UserId};

use super::UserBody;
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::text::{self, Name};
use crate::domain::user::MAX_USER_NAME;
use crate::operations::identify::AdminCaller;
use crate::operations::users::{self, Edit};
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Changes what is given of a user. Its `sub` may be given, but is what it is.
///
/// # Errors
/// When it isn't there, its account is cancelled, or a field breaks a rule.
pub async fn update(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, UserId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let edit = edit(&fields)?;
    let updated = users::update(&app.registry, &caller.actor, (account, id), edit).await?;
    let body = axum::Json(UserBody::from(&updated.value));
    Ok(settled::with(&updated.settled, body))
}

fn edit(fields: &Fields) -> Result<Edit, InvalidField> {
    Ok(Edit {
        sub: super::sub(fields)?.not_null("sub")?,
        name: fields
            .text("name")?
            .read(|typed| Name::parse("name", typed, MAX_USER_NAME))?
            .not_null("name")?,
        email: fields
            .text("email")?
            .read(|typed| text::email("email", typed))?
            .not_null("email")?,
        claims: super::claims(fields)?.not_null("claims")?,
        permissions: super::permissions(fields)?.not_null("permissions")?,
    })
}
