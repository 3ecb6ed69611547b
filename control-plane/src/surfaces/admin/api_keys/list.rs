//! `GET /admin/customers/{customer_id}/api-keys`

use axum::Json;
use axum::extract::State;
use keyward_contract::AccountId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::account_keys;
use crate::surfaces::admin::wire;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// The keys of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    api_keys: Vec<wire::Key>,
}

/// Lists an account's keys, dead ones included, newest first. Customer keys are not among them.
///
/// # Errors
/// When the account isn't there.
#[utoipa::path(
    get,
    path = "/admin/customers/{customer_id}/api-keys",
    operation_id = "listKeys",
    tag = "keys",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    responses(
        (status = 200, description = "Living and dead keys, newest first.", body = KeyList),
    ),
)]
pub async fn list(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Json<KeyList>, Problem> {
    let listed = account_keys::list(&app.registry, id).await?;
    let api_keys = listed
        .keys
        .iter()
        .map(|key| {
            let last_used_at = listed.last_used.get(&key.id).copied();
            wire::key(key, listed.account.status, last_used_at, listed.now)
        })
        .collect();
    Ok(Json(KeyList { api_keys }))
}
