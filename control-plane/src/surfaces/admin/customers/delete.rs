//! `DELETE /admin/customers/{customer_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::AccountId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::accounts;
use crate::operations::identify::AdminCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// An account that is cancelled now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "message": "Customer deleted successfully", "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "status": "cancelled",
}))]
pub struct CustomerDeleted {
    message: &'static str,
    #[schema(value_type = String, format = "uuid")]
    customer_id: AccountId,
    #[schema(pattern = "^cancelled$")]
    status: &'static str,
}

/// Cancels an account for good. A repeat answers the same.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    delete,
    path = "/admin/customers/{customer_id}",
    operation_id = "deleteCustomer",
    tag = "customers",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    responses(
        (status = 200, description = "Cancelled with all its keys; a repeat answers the same.", body = CustomerDeleted),
    ),
)]
pub async fn delete(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<AccountId>,
) -> Result<Response, Problem> {
    let cancelled = accounts::cancel(&app.registry, &caller.actor, id).await?;
    let body = CustomerDeleted {
        message: "Customer deleted successfully",
        customer_id: id,
        status: "cancelled",
    };
    Ok(settled::with(&cancelled.settled, axum::Json(body)))
}
