//! `DELETE /admin/admin-keys/{admin_key_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::KeyId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::admin_keys;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// An admin key that is dead now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "Admin key revoked successfully", "admin_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d80",
    "status": "revoked",
}))]
pub struct AdminKeyRevoked {
    message: &'static str,
    #[schema(value_type = String, format = "uuid")]
    admin_key_id: KeyId,
    #[schema(pattern = "^revoked$")]
    status: &'static str,
}

/// Revokes an admin key. A repeat answers the same.
///
/// # Errors
/// When it isn't there, or is the last owner's.
#[utoipa::path(
    delete,
    path = "/admin/admin-keys/{admin_key_id}",
    operation_id = "revokeAdminKey",
    tag = "operators",
    params(("admin_key_id" = String, Path, format = "uuid", description = "The admin key's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d80")),
    responses(
        (status = 200, description = "Dead; a repeat answers the same.", body = AdminKeyRevoked),
        (status = 409, description = "It is the last owner's."),
    ),
)]
pub async fn revoke(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<KeyId>,
) -> Result<Response, Problem> {
    let revoked = admin_keys::revoke(&app.registry, &caller.actor, id).await?;
    let body = AdminKeyRevoked {
        message: "Admin key revoked successfully",
        admin_key_id: id,
        status: "revoked",
    };
    Ok(settled::with(&revoked.settled, axum::Json(body)))
}
