//! `GET /keys/{keyId}`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use keyward_contract::KeyId;

use super::permission::Lister;
use super::wire::Key;
use crate::App;
use crate::operations::company_keys;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows an account key of the caller's environment, an inactive one too.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    get,
    path = "/keys/{keyId}",
    operation_id = "getKey",
    tag = "keys",
    params(("keyId" = String, Path, format = "uuid", description = "The key's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f")),
    responses(
        (status = 200, description = "The key, an inactive one too.", body = Key),
    ),
)]
pub async fn show(State(app): State<App>, lister: Lister, Id(id): Id<KeyId>) -> Result<Response, Problem> {
    let found = company_keys::find(&app.registry, lister.caller(), id).await?;
    Ok(Json(Key::new(&found)).into_response())
}
