//! `GET /.well-known/oauth-authorization-server`: what there is and where (RFC 8414).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::json;

use super::jwks::KEPT;
use crate::App;
use crate::domain::user::Permissions;

/// Says what there is.
pub async fn metadata(State(app): State<App>) -> Response {
    let issuer = &app.registry.tokens.issuer;
    let metadata = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "scopes_supported": Permissions::ALL.names(),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    });
    ([(header::CACHE_CONTROL, KEPT)], Json(metadata)).into_response()
}
