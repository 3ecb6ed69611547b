//! `DELETE /admin/customers/{customer_id}/users/{user_id}`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::{AccountId, UserId};

use crate::App;
use crate::operations::identify::AdminCaller;
use crate::operations::users;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Deletes a user and revokes its keys. A repeat finds nobody.
///
/// # Errors
/// When it isn't there, or its account is cancelled.
#[utoipa::path(
    delete,
    path = "/admin/customers/{customer_id}/users/{user_id}",
    operation_id = "deleteUser",
    tag = "users",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("user_id" = String, Path, format = "uuid", description = "The user's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d84"),
    ),
    responses(
        (status = 204, description = "Gone, with its keys; a repeat finds nobody."),
        (status = 409, description = "The account is cancelled."),
    ),
)]
pub async fn delete(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, UserId>,
) -> Result<Response, Problem> {
    let deleted = users::delete(&app.registry, &caller.actor, (account, id)).await?;
    Ok(settled::with(&deleted.settled, StatusCode::NO_CONTENT))
}
