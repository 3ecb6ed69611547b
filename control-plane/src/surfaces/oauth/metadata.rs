//! `GET /.well-known/oauth-authorization-server`: what there is and where (RFC 8414).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use utoipa::ToSchema;

use super::jwks::KEPT;
use crate::App;
use crate::domain::user::Permissions;

/// What there is and where, as RFC 8414 writes it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Metadata<'a> {
    issuer: &'a str,
    token_endpoint: String,
    jwks_uri: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: [&'static str; 0],
    grant_types_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 2],
}

/// Says what there is.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "getMetadata",
    tag = "tokens",
    security(()),
    responses(
        (status = 200, description = "What there is and where.", body = Metadata),
    ),
)]
pub async fn metadata(State(app): State<App>) -> Response {
    let issuer = &app.registry.tokens.issuer;
    let metadata = Metadata {
        issuer,
        token_endpoint: format!("{issuer}/oauth/token"),
        jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        scopes_supported: Permissions::ALL.names(),
        response_types_supported: [],
        grant_types_supported: ["client_credentials"],
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post"],
    };
    ([(header::CACHE_CONTROL, KEPT)], Json(metadata)).into_response()
}
