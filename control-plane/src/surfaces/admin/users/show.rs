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
pub async fn show(
    State(app): State<App>,
    Ids(account, id): Ids<AccountId, UserId>,
) -> Result<Json<UserBody>, Problem> {
    let user = users::find(&app.registry, account, id).await?;
    Ok(Json(UserBody::from(&user)))
}
