//! `POST /customers/{customerId}/rotate-key`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::CustomerId;

use super::wire::CustomerWithKey;
use crate::App;
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Gives an end customer a new key. There is no input: a body is not looked at.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    post,
    path = "/customers/{customerId}/rotate-key",
    operation_id = "rotateCustomerKey",
    tag = "customers",
    params(("customerId" = String, Path, format = "customer-id", description = "The end customer's id.", example = "clx8f2k9h0001qr5tgvwxyz12")),
    responses((status = 200, description = "With its new key; the old one is dead.", body = CustomerWithKey)),
)]
pub async fn rotate_key(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Response, Problem> {
    let rotated = end_customers::rotate_key(&app.registry, &caller, id).await?;
    let body = CustomerWithKey::new(&rotated.value);
    Ok(settled::with(&rotated.settled, axum::Json(body)))
}
