//! `POST /customers`

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, header};

use super::wire::{CustomerWithKey, NewCustomer};
use crate::App;
use crate::domain::text::{MAX_NAME, Name};
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Makes an end customer with its key.
///
/// # Errors
/// When the name is missing, malformed or taken.
#[utoipa::path(
    post,
    path = "/customers",
    operation_id = "createCustomer",
    tag = "customers",
    request_body = NewCustomer,
    responses(
        (
            status = 201,
            description = "Made.",
            body = CustomerWithKey,
            headers(("Location" = String, description = "Its path.")),
        ),
        (status = 409, description = "The name is taken, or the Idempotency-Key is."),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: PortalCaller,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let name = Name::parse("name", fields.text("name")?.required("name")?, MAX_NAME)?;
    let made = end_customers::create(&app.registry, &caller, name).await?;
    let found = &made.value;
    let body = CustomerWithKey::new(found);
    let location = format!("/customers/{}", found.customer.id);
    let answer = (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        axum::Json(body),
    );
    Ok(settled::with(&made.settled, answer))
}
