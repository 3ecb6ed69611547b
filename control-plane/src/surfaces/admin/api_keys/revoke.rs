//! `DELETE /admin/customers/{customer_id}/api-keys/{api_key_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, KeyId};
use serde_json::json;

use crate::App;
use crate::operations::account_keys;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Revokes an account key. A repeat answers the same.
///
/// # Errors
/// When it isn't there.
pub async fn revoke(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, KeyId>,
) -> Result<Response, Problem> {
    let revoked = account_keys::revoke(&app.registry, &caller.actor, account, id).await?;
    let body = json!({
        "message": "API key revoked successfully",
        "api_key_id": id,
        "status": "revoked",
    });
    Ok(settled::with(&revoked.settled, axum::Json(body)))
}
