//! `GET /customers/{customerId}`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use keyward_contract::CustomerId;

use super::wire::CustomerWithKey;
use crate::App;
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows an end customer with its key.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    get,
    path = "/customers/{customerId}",
    operation_id = "getCustomer",
    tag = "customers",
    params(("customerId" = String, Path, format = "customer-id", description = "The end customer's id.", example = "clx8f2k9h0001qr5tgvwxyz12")),
    responses((status = 200, description = "The end customer.", body = CustomerWithKey)),
)]
pub async fn show(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Response, Problem> {
    let found = end_customers::find(&app.registry, &caller, id).await?;
    Ok(axum::Json(CustomerWithKey::new(&found)).into_response())
}
