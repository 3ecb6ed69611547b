//! `GET /customers/{customerId}`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use keyward_contract::CustomerId;

use super::wire::Customer;
use crate::App;
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows an end customer with its key.
///
/// # Errors
/// When it isn't there.
pub async fn show(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Response, Problem> {
    let found = end_customers::find(&app.registry, &caller, id).await?;
    let body = Customer::new(&found.customer, found.last_used_at).with_key(found.key.as_ref());
    Ok(axum::Json(body).into_response())
}
