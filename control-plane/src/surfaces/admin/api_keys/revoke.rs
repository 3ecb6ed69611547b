//! `DELETE /admin/customers/{customer_id}/api-keys/{api_key_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, KeyId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::account_keys;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// A key that is dead now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "API key revoked successfully", "api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f",
    "status": "revoked",
}))]
pub struct KeyRevoked {
    message: &'static str,
    #[schema(value_type = String, format = "uuid")]
    api_key_id: KeyId,
    #[schema(pattern = "^revoked$")]
    status: &'static str,
}

/// Revokes an account key. A repeat answers the same.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    delete,
    path = "/admin/customers/{customer_id}/api-keys/{api_key_id}",
    operation_id = "revokeKey",
    tag = "keys",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("api_key_id" = String, Path, format = "uuid", description = "The key's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f"),
    ),
    responses(
        (status = 200, description = "Dead; a repeat answers the same.", body = KeyRevoked),
    ),
)]
pub async fn revoke(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, KeyId>,
) -> Result<Response, Problem> {
    let revoked = account_keys::revoke(&app.registry, &caller.actor, account, id).await?;
    let body = KeyRevoked {
        message: "API key revoked successfully",
        api_key_id: id,
        status: "revoked",
    };
    Ok(settled::with(&revoked.settled, axum::Json(body)))
}
