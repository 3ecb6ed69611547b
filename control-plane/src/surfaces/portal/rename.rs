//! `PATCH /customers/{customerId}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::CustomerId;

use super::wire::{Customer, CustomerEdit};
use crate::App;
use crate::domain::text::{MAX_NAME, Name};
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::surfaces::body::Json;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Renames an end customer.
///
/// # Errors
/// When it isn't there, or the name is malformed or taken.
#[utoipa::path(
    patch,
    path = "/customers/{customerId}",
    operation_id = "updateCustomer",
    tag = "customers",
    params(("customerId" = String, Path, format = "customer-id", description = "The end customer's id.", example = "clx8f2k9h0001qr5tgvwxyz12")),
    request_body = CustomerEdit,
    responses(
        (status = 200, description = "As it is now.", body = Customer),
        (status = 409, description = "The name is taken."),
    ),
)]
pub async fn rename(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let name = fields
        .text("name")?
        .not_null("name")?
        .map(|typed| Name::parse("name", typed, MAX_NAME))
        .transpose()?;
    let renamed = end_customers::rename(&app.registry, &caller, id, name).await?;
    let body = Customer::new(&renamed.value.customer, renamed.value.last_used_at);
    Ok(settled::with(&renamed.settled, axum::Json(body)))
}
