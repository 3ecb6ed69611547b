//! `GET /admin/admin-keys`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::wire;
use crate::App;
use crate::operations::admin_keys;
use crate::surfaces::problem::Problem;

/// Lists every admin key, revoked ones included, newest first.
///
/// # Errors
/// When the store is away.
pub async fn list(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let keys = admin_keys::list(&app.registry).await?;
    Ok(Json(
        json!({"admin_keys": keys.iter().map(wire).collect::<Vec<_>>()}),
    ))
}
