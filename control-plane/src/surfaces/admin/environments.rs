//! `PUT /admin/customers/{customer_id}/environments/{environment_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, EnvironmentId};
use utoipa::ToSchema;

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

/// What is to be changed of an environment.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"user_key_limit": 50}))]
pub struct EnvironmentEdit {
    /// How many keys its users may have made on surface 4.
    #[schema(minimum = 0, maximum = 100_000)]
    pub user_key_limit: u32,
}

/// Sets how many keys an environment may have over all its users.
///
/// # Errors
/// When there is no such account or environment, or the number is out of range.
#[utoipa::path(
    put,
    path = "/admin/customers/{customer_id}/environments/{environment_id}",
    operation_id = "updateEnvironment",
    tag = "customers",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("environment_id" = String, Path, format = "environment-id", description = "The environment's id: 16 hex digits.", example = "9f86d081884c7d65"),
    ),
    request_body = EnvironmentEdit,
    responses(
        (status = 200, description = "As it is now.", body = wire::Environment),
        (status = 409, description = "The account is cancelled."),
    ),
)]
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
