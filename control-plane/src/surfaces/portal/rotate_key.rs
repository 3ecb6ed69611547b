//! `POST /customers/{customerId}/rotate-key`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::CustomerId;

use super::wire::Customer;
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
pub async fn rotate_key(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Response, Problem> {
    let rotated = end_customers::rotate_key(&app.registry, &caller, id).await?;
    let found = &rotated.value;
    let body = Customer::new(&found.customer, found.last_used_at).with_key(found.key.as_ref());
    Ok(settled::with(&rotated.settled, axum::Json(body)))
}
