//! `GET /admin/admin-keys`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{AdminKeyShown, wire};
use crate::App;
use crate::operations::admin_keys;
use crate::surfaces::problem::Problem;

/// Every admin key.
#[derive(Debug, Serialize, ToSchema)]
pub struct AdminKeyList {
    admin_keys: Vec<AdminKeyShown>,
}

/// Lists every admin key, revoked ones included, newest first.
///
/// # Errors
/// When the store is away.
#[utoipa::path(
    get,
    path = "/admin/admin-keys",
    operation_id = "listAdminKeys",
    tag = "operators",
    responses(
        (status = 200, description = "Every admin key, newest first.", body = AdminKeyList),
    ),
)]
pub async fn list(State(app): State<App>) -> Result<Json<AdminKeyList>, Problem> {
    let keys = admin_keys::list(&app.registry).await?;
    Ok(Json(AdminKeyList {
        admin_keys: keys.iter().map(wire).collect(),
    }))
}
