//! `PUT /admin/customers/{customer_id}/environments/{environment_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, EnvironmentId};

use super::wire;
use crate::App;
use crate::domain::account::MAX_USER_KEY_LIMIT;
use crate::domain::refusal::InvalidField;
use crate::operations::accounts;
use crate::operations::identify::AdminCaller;
use crate::surfaces::body::Json;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Sets how many keys each user of an environment may have.
///
/// # Errors
/// When there is no such account or environment, or the number is out of range.
pub async fn update(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, environment): Ids<AccountId, EnvironmentId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let limit = fields
        .whole_number("user_key_limit")?
        .required("user_key_limit")?;
    let limit = u32::try_from(limit)
        .ok()
        .filter(|limit| *limit <= MAX_USER_KEY_LIMIT)
        .ok_or_else(|| InvalidField::new("user_key_limit", "must be a whole number from 0 to 100000"))?;
    let target = (account, environment);
    let set = accounts::set_user_key_limit(&app.registry, &caller.actor, target, limit).await?;
    let (kind, settings) = set.value;
    Ok(settled::with(
        &set.settled,
        axum::Json(wire::environment(kind, settings)),
    ))
}
