//! `GET /api/v1/psp/product-manager/customer-user-api-keys`

use axum::Json;
use axum::extract::State;

use super::place::Sees;
use super::wire::ListedKey;
use crate::App;
use crate::operations::user_keys;
use crate::surfaces::problem::Problem;

/// Lists the keys in the caller's sight, newest first.
///
/// # Errors
/// When the caller lacks a claim, or there is no such environment.
#[utoipa::path(
    get,
    path = "/api/v1/psp/product-manager/customer-user-api-keys",
    operation_id = "listKeys",
    tag = "keys",
    responses(
        (status = 200, description = "The keys in the caller's sight, newest first.", body = [ListedKey]),
        (status = 404, description = "There is no such environment."),
    ),
)]
pub async fn list(State(app): State<App>, Sees(viewer): Sees) -> Result<Json<Vec<ListedKey>>, Problem> {
    let read = user_keys::list(&app.registry, &viewer).await?;
    let keys = read.value.iter().map(|key| ListedKey::new(key, read.now));
    Ok(Json(keys.collect()))
}
