//! `POST /admin/customers/{customer_id}/users`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::AccountId;
use utoipa::ToSchema;

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

/// A user to be made.
#[derive(Debug, ToSchema)]
#[schema(as = NewUser, example = json!({
    "name": "Ada Lovelace", "email": "ada@acme.example", "claims": ["Issuer_Admin"],
    "permissions": ["company.keys:list", "company.keys:write"],
}))]
pub struct UserWanted {
    /// What it is called.
    #[schema(format = "name-200")]
    pub name: String,
    /// Where it is reached.
    #[schema(format = "e-mail")]
    pub email: String,
    /// Who its tokens say it is; made up when left out.
    #[schema(format = "uuid")]
    pub sub: Option<String>,
    /// What it may do on surface 4.
    #[schema(format = "claim", max_items = 50)]
    pub claims: Option<Vec<String>>,
    /// What it may do on surface 3, when its token doesn't say.
    #[schema(format = "permission")]
    pub permissions: Option<Vec<String>>,
}

/// Makes a user of an account.
///
/// # Errors
/// When the account isn't there or is cancelled, a field is missing or breaks a rule, or the `sub` is taken.
#[utoipa::path(
    post,
    path = "/admin/customers/{customer_id}/users",
    operation_id = "createUser",
    tag = "users",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    request_body = UserWanted,
    responses(
        (status = 201, description = "Made.", body = UserBody),
        (status = 409, description = "The `sub` is taken, or the account is cancelled."),
    ),
)]
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
