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
pub async fn delete(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, UserId>,
) -> Result<Response, Problem> {
    let deleted = users::delete(&app.registry, &caller.actor, (account, id)).await?;
    Ok(settled::with(&deleted.settled, StatusCode::NO_CONTENT))
}
