//! The document of surface 3.

use serde_json::json;
use utoipa::OpenApi;

use super::complete::Face;
use super::links::source;
use crate::surfaces::Surface;
use crate::surfaces::keys::{create, delete, error, list, show, update};
use crate::surfaces::oauth::error::TokenError;
use crate::surfaces::oauth::{jwks, metadata, token};

/// The endpoints.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Keyward: a company's API keys",
        description = "A company's own systems manage its API keys: whose they are, from which addresses they may be used, \
            and which version of the API they are pinned to.\n\nA known path with another method is 405 with `Allow`; \
            bodies are JSON of at most 64 KiB; unknown fields are ignored.",
    ),
    tags((name = "keys", description = "API keys."), (name = "tokens", description = "OAuth 2.0 for surfaces 3 and 4.")),
    paths(list::list, create::create, show::show, update::update, delete::delete, token::token, metadata::metadata, jwks::jwks),
    components(schemas(error::Error, TokenError)),
)]
struct Endpoints;

/// The surface.
#[must_use]
pub fn face() -> Face {
    let id = "keyId";
    Face {
        surface: Surface::Keys,
        at: "/openapi/keys.json",
        title: "A company's API keys",
        generated: Endpoints::openapi(),
        error: error::body,
        security: json!({
            "accountKey": {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-KEY",
                "description": "An account key, `pk_live_…` or `pk_test_…`.",
            },
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A JWT of the built-in or a configured issuer, or an account key.",
            },
            "oauth2": {
                "type": "oauth2",
                "description": "The client id is the account's id, the secret one of its account keys.",
                "flows": {
                    "clientCredentials": {
                        "tokenUrl": "/oauth/token",
                        "scopes": {
                            "company.keys:list": "Reads keys.",
                            "company.keys:write": "Makes, changes and deletes keys.",
                        },
                    },
                },
            },
        }),
        servers: json!([{"url": "/"}]),
        sources: vec![
            source("createKey", "201", id, "/id"),
            source("getKey", "200", id, "/id"),
            source("updateKey", "200", id, "/id"),
        ],
    }
}
