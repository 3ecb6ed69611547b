//! `GET /admin/audit/verify`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::App;
use crate::operations::audit_trail;
use crate::surfaces::problem::Problem;

/// Says whether the trail is as it was written, and else names the first row that is not. Reads all of it.
///
/// # Errors
/// When the store is away.
pub async fn verify(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let verified = audit_trail::verify(&app.registry).await?;
    let broken = verified
        .broken
        .as_ref()
        .map(|broken| json!({"number": broken.number, "id": broken.id, "reason": broken.reason}));
    Ok(Json(json!({
        "intact": broken.is_none(),
        "events": verified.rows,
        "last_hash": verified.last_hash,
        "broken": broken,
    })))
}
