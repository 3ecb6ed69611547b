//! `PATCH /api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}`

use axum::extract::State;
use axum::response::Response;
use utoipa::ToSchema;

use super::place::{Number, Sees};
use super::wire::Key;
use crate::App;
use crate::domain::user_key::Switch;
use crate::operations::user_keys;
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// What is to be changed of a key.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"status": "inactive"}))]
pub struct KeyEdit {
    /// Whether it may be used.
    #[schema(format = "switch")]
    pub status: String,
}

/// Switches a key off or on.
///
/// # Errors
/// When the caller lacks a claim, no such key is in its sight, the status is none, or an expired key is to be active.
#[utoipa::path(
    patch,
    path = "/api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}",
    operation_id = "updateKey",
    tag = "keys",
    params(("apiKeyId" = i64, Path, minimum = 1, description = "The key's id.", example = 1)),
    request_body = KeyEdit,
    responses(
        (status = 200, description = "As it is now.", body = Key),
        (status = 409, description = "It leaked, or an operator disabled it: only operators enable it again."),
    ),
)]
pub async fn update(
    State(app): State<App>,
    Sees(viewer): Sees,
    Number(number): Number,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let to = Switch::parse("status", fields.text("status")?.required("status")?)?;
    let updated = user_keys::set_status(&app.registry, &viewer, number, to).await?;
    let body = axum::Json(Key::new(&updated.value.value, updated.value.now));
    Ok(settled::with(&updated.settled, body))
}
