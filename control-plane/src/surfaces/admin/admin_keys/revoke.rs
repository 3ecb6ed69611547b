//! `DELETE /admin/admin-keys/{admin_key_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::KeyId;
use serde_json::json;

use crate::App;
use crate::operations::admin_keys;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Revokes an admin key. A repeat answers the same.
///
/// # Errors
/// When it isn't there, or is the last owner's.
pub async fn revoke(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<KeyId>,
) -> Result<Response, Problem> {
    let revoked = admin_keys::revoke(&app.registry, &caller.actor, id).await?;
    let body = json!({
        "message": "Admin key revoked successfully",
        "admin_key_id": id,
        "status": "revoked",
    });
    Ok(settled::with(&revoked.settled, axum::Json(body)))
}
