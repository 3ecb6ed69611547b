//! `GET /admin/audit/verify`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::audit_trail;
use crate::surfaces::problem::Problem;

/// Whether the trail is as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "intact": true, "events": 42,
    "last_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "broken": null,
}))]
pub struct Verification {
    intact: bool,
    /// How many rows are as they were written.
    #[schema(minimum = 0)]
    events: i64,
    /// The hash of the last of them.
    last_hash: String,
    /// The first row that is not.
    #[schema(required = true)]
    broken: Option<BrokenRow>,
}

/// A row that is not as it was written.
#[derive(Debug, Serialize, ToSchema)]
pub struct BrokenRow {
    number: i64,
    id: String,
    reason: &'static str,
}

/// Says whether the trail is as it was written, and else names the first row that is not. Reads all of it.
///
/// # Errors
/// When the store is away.
#[utoipa::path(
    get,
    path = "/admin/audit/verify",
    operation_id = "verifyAuditTrail",
    tag = "operations",
    responses(
        (status = 200, description = "Whether it is.", body = Verification),
    ),
)]
pub async fn verify(State(app): State<App>) -> Result<Json<Verification>, Problem> {
    let verified = audit_trail::verify(&app.registry).await?;
    let broken = verified.broken.map(|broken| BrokenRow {
        number: broken.number,
        id: broken.id,
        reason: broken.reason,
    });
    Ok(Json(Verification {
        intact: broken.is_none(),
        events: verified.rows,
        last_hash: verified.last_hash,
        broken,
    }))
}
