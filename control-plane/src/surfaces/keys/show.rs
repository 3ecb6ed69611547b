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
pub async fn show(State(app): State<App>, lister: Lister, Id(id): Id<KeyId>) -> Result<Response, Problem> {
    let found = company_keys::find(&app.registry, lister.caller(), id).await?;
    Ok(Json(Key::new(&found)).into_response())
}
