//! `GET /admin/customers/{customer_id}/api-keys`

use axum::Json;
use axum::extract::State;
use keyward_contract::AccountId;
use serde_json::{Value, json};

use crate::App;
use crate::operations::account_keys;
use crate::surfaces::admin::wire;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Lists an account's keys, dead ones included, newest first. Customer keys are not among them.
///
/// # Errors
/// When the account isn't there.
pub async fn list(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Json<Value>, Problem> {
    let listed = account_keys::list(&app.registry, id).await?;
    let keys: Vec<_> = listed
        .keys
        .iter()
        .map(|key| {
            let last_used_at = listed.last_used.get(&key.id).copied();
            wire::key(key, listed.account.status, last_used_at, listed.now)
        })
        .collect();
    Ok(Json(json!({"api_keys": keys})))
}
