//! `DELETE /customers/{customerId}`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::CustomerId;

use crate::App;
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Deletes an end customer and its key, for good.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    delete,
    path = "/customers/{customerId}",
    operation_id = "deleteCustomer",
    tag = "customers",
    params(("customerId" = String, Path, format = "customer-id", description = "The end customer's id.", example = "clx8f2k9h0001qr5tgvwxyz12")),
    responses((status = 204, description = "Gone; its key is refused from now on.")),
)]
pub async fn delete(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Response, Problem> {
    let deleted = end_customers::delete(&app.registry, &caller, id).await?;
    Ok(settled::with(&deleted.settled, StatusCode::NO_CONTENT))
}
