//! `DELETE /api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::place::{Number, Sees};
use crate::App;
use crate::operations::user_keys;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Deletes a key for good. A repeat finds none.
///
/// # Errors
/// When the caller lacks a claim, or no such key is in its sight.
#[utoipa::path(
    delete,
    path = "/api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}",
    operation_id = "deleteKey",
    tag = "keys",
    params(("apiKeyId" = i64, Path, minimum = 1, description = "The key's id.", example = 1)),
    responses(
        (status = 204, description = "Gone; a repeat is 404."),
    ),
)]
pub async fn delete(
    State(app): State<App>,
    Sees(viewer): Sees,
    Number(number): Number,
) -> Result<Response, Problem> {
    let deleted = user_keys::delete(&app.registry, &viewer, number).await?;
    Ok(settled::with(&deleted.settled, StatusCode::NO_CONTENT))
}
