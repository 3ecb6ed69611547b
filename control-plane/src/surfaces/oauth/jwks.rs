//! `GET /.well-known/jwks.json`: the public keys that prove our tokens (RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::json;

use crate::App;
use crate::operations::tokens::rotation;
use crate::surfaces::problem::Problem;

/// How long these public answers may be kept: far shorter than a key is published before it signs.
pub(super) const KEPT: &str = "public, max-age=300";

/// Shows the keys.
///
/// # Errors
/// When the database fails.
pub async fn jwks(State(app): State<App>) -> Result<Response, Problem> {
    let keys = rotation::published(&app.registry).await?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Json(json!({"keys": keys}))).into_response())
}
