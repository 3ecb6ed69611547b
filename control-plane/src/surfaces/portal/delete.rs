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
pub async fn delete(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Response, Problem> {
    let deleted = end_customers::delete(&app.registry, &caller, id).await?;
    Ok(settled::with(&deleted.settled, StatusCode::NO_CONTENT))
}
