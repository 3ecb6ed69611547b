//! `GET /.well-known/jwks.json`: the public keys that prove our tokens (RFC 7517).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::operations::tokens::rotation;
use crate::surfaces::problem::Problem;

/// How long these public answers may be kept: far shorter than a key is published before it signs.
pub(super) const KEPT: &str = "public, max-age=300";

/// The keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySet {
    /// As RFC 7517 writes them.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
}

/// Shows the keys.
///
/// # Errors
/// When the database fails.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "getKeySet",
    tag = "tokens",
    security(()),
    responses(
        (status = 200, description = "The public keys that prove our tokens.", body = KeySet),
    ),
)]
pub async fn jwks(State(app): State<App>) -> Result<Response, Problem> {
    let keys = rotation::published(&app.registry).await?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Json(KeySet { keys })).into_response())
}
