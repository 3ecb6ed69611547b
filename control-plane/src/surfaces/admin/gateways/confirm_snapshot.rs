//! `POST /admin/gateways/{gateway_id}/confirm-snapshot`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::held_snapshots;
use crate::operations::identify::AdminCaller;
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Which snapshot is meant.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"revision": 42}))]
pub struct SnapshotConfirmation {
    /// The revision of the snapshot that the gateway holds.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub revision: u64,
}

/// A snapshot that is on its way again, to be put in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "Snapshot confirmed", "gateway_id": "edge-1", "revision": 42, "held_keys": 1200, "dropped_keys": 900,
}))]
pub struct SnapshotConfirmed {
    message: &'static str,
    gateway_id: String,
    revision: u64,
    /// Keys in force at the gateway.
    held_keys: u64,
    /// Those of them that the snapshot has not.
    dropped_keys: u64,
}

/// Confirms the snapshot that a gateway holds because it would drop more than half of its keys: it is sent again, as the
/// log is now, and put in force. On whichever control plane the gateway is.
///
/// # Errors
/// When the gateway isn't there or doesn't hold this snapshot.
#[utoipa::path(
    post,
    path = "/admin/gateways/{gateway_id}/confirm-snapshot",
    operation_id = "confirmSnapshot",
    tag = "operations",
    params(("gateway_id" = String, Path, description = "The gateway's id.", example = "edge-1")),
    request_body = SnapshotConfirmation,
    responses(
        (status = 202, description = "It is sent again. The gateway is `connected` once it is in force.", body = SnapshotConfirmed),
        (status = 409, description = "The gateway holds no snapshot, or one of another revision."),
    ),
)]
pub async fn confirm(
    State(app): State<App>,
    caller: AdminCaller,
    Id(gateway_id): Id<String>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let revision = revision(&fields)?;
    let confirmed = held_snapshots::confirm(&app.registry, &caller.actor, &gateway_id, revision).await?;
    let body = axum::Json(SnapshotConfirmed {
        message: "Snapshot confirmed",
        gateway_id,
        revision,
        held_keys: confirmed.value.held,
        dropped_keys: confirmed.value.dropped,
    });
    Ok(settled::with(&confirmed.settled, (StatusCode::ACCEPTED, body)))
}

fn revision(fields: &Fields) -> Result<u64, InvalidField> {
    let revision = fields.whole_number("revision")?.required("revision")?;
    if revision == 0 {
        return Err(InvalidField::new(
            "revision",
            "must be a whole number, 1 or above",
        ));
    }
    Ok(revision)
}
