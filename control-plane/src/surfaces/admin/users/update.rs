//! `PUT` and `PATCH /admin/customers/{customer_id}/users/{user_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, UserId};
use utoipa::ToSchema;

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

/// What is to be changed of a user; what is left out stays. Its `sub` may be sent, but only as it is.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"name": "Ada King", "claims": ["Issuer_Dev"]}))]
pub struct UserEdit {
    /// What it is called.
    #[schema(format = "name-200", nullable = false)]
    pub name: Option<String>,
    /// Where it is reached.
    #[schema(format = "e-mail", nullable = false)]
    pub email: Option<String>,
    /// Replaces all of its claims.
    #[schema(format = "claim", max_items = 50, nullable = false)]
    pub claims: Option<Vec<String>>,
    /// Replaces all of its permissions.
    #[schema(format = "permission", nullable = false)]
    pub permissions: Option<Vec<String>>,
}

/// Changes what is given of a user. Its `sub` may be given, but is what it is.
///
/// # Errors
/// When it isn't there, its account is cancelled, or a field breaks a rule.
#[utoipa::path(
    method(put, patch),
    path = "/admin/customers/{customer_id}/users/{user_id}",
    operation_id = "updateUser",
    tag = "users",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("user_id" = String, Path, format = "uuid", description = "The user's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d84"),
    ),
    request_body = UserEdit,
    responses(
        (status = 200, description = "As it is now.", body = UserBody),
        (status = 409, description = "The account is cancelled."),
    ),
)]
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
