//! `DELETE /keys/{keyId}`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::KeyId;

use super::permission::Writer;
use crate::App;
use crate::operations::company_keys;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Deletes an account key, the caller's own perhaps, for good.
///
/// # Errors
/// When it isn't there any more.
pub async fn delete(State(app): State<App>, writer: Writer, Id(id): Id<KeyId>) -> Result<Response, Problem> {
    let deleted = company_keys::delete(&app.registry, writer.caller(), id).await?;
    Ok(settled::with(&deleted.settled, StatusCode::NO_CONTENT))
}
