//! `GET /admin/customers/{customer_id}/users/{user_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::{AccountId, UserId};

use super::UserBody;
use crate::App;
use crate::operations::users;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;

/// Shows a user.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    get,
    path = "/admin/customers/{customer_id}/users/{user_id}",
    operation_id = "getUser",
    tag = "users",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("user_id" = String, Path, format = "uuid", description = "The user's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d84"),
    ),
    responses(
        (status = 200, description = "The user.", body = UserBody),
    ),
)]
pub async fn show(
    State(app): State<App>,
    Ids(account, id): Ids<AccountId, UserId>,
) -> Result<Json<UserBody>, Problem> {
    let user = users::find(&app.registry, account, id).await?;
    Ok(Json(UserBody::from(&user)))
}
