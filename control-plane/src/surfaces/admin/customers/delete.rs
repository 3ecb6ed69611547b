//! `DELETE /admin/customers/{customer_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::AccountId;
use serde_json::json;

use crate::App;
use crate::operations::accounts;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Cancels an account for good. A repeat answers the same.
///
/// # Errors
/// When it isn't there.
pub async fn delete(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<AccountId>,
) -> Result<Response, Problem> {
    let cancelled = accounts::cancel(&app.registry, &caller.actor, id).await?;
    let body = json!({
        "message": "Customer deleted successfully",
        "customer_id": id,
        "status": "cancelled",
    });
    Ok(settled::with(&cancelled.settled, axum::Json(body)))
}
