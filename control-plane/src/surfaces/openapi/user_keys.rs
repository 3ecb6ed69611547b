//! The document of surface 4.

use serde_json::json;
use utoipa::OpenApi;

use super::complete::Face;
use super::links::source;
use crate::surfaces::Surface;
use crate::surfaces::user_keys::{create, delete, error, list, update, usage};

/// The endpoints.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Keyward: users' own keys",
        description = "Users manage their own keys, as far as their claims allow. The environment is in the base URL; \
            without one the token's environment claim decides, else it is production.\n\nA known path with another method \
            is 405 with `Allow`; bodies are JSON of at most 64 KiB; unknown fields are ignored.",
    ),
    tags((name = "keys", description = "Users' keys.")),
    paths(list::list, create::create, update::update, delete::delete, usage::usage),
    components(schemas(error::Error)),
)]
struct Endpoints;

/// The surface.
#[must_use]
pub fn face() -> Face {
    let id = "apiKeyId";
    Face {
        surface: Surface::UserKeys,
        at: "/openapi/user-keys.json",
        title: "Users' own keys",
        generated: Endpoints::openapi(),
        error: error::body,
        security: json!({
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A JWT of a user, or an account key that belongs to one.",
            },
            "userKey": {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-KEY",
                "description": "An account key that belongs to a user.",
            },
        }),
        servers: json!([
            {"url": "/"},
            {
                "url": "/environments/{environmentId}",
                "description": "The same in an environment that is named.",
                "variables": {
                    "environmentId": {"default": "9f86d081884c7d65", "description": "16 hex digits."},
                },
            },
        ]),
        sources: vec![
            source("createKey", "201", id, "/id"),
            source("updateKey", "200", id, "/id"),
        ],
    }
}
