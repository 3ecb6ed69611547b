//! The document of surface 1.

use serde_json::json;
use utoipa::OpenApi;

use super::complete::Face;
use super::links::source;
use crate::surfaces::Surface;
use crate::surfaces::portal::{create, delete, error, list, rename, rotate_key, show, usage};

/// The endpoints.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Keyward: end customers",
        description = "Partners manage their end customers and the keys of these. The account key decides the account \
            and the environment: with a test key one sees and makes only test customers.\n\nA known path with another \
            method is 405 with `Allow`; bodies are JSON of at most 64 KiB; unknown fields are ignored.",
    ),
    tags((name = "customers", description = "End customers, each with one living key.")),
    paths(
        list::list, create::create, show::show, rename::rename, delete::delete, usage::usage,
        rotate_key::rotate_key,
    ),
    components(schemas(error::Error)),
)]
struct Endpoints;

/// The surface.
#[must_use]
pub fn face() -> Face {
    let id = "customerId";
    Face {
        surface: Surface::Portal,
        at: "/openapi/portal.json",
        title: "End customers",
        generated: Endpoints::openapi(),
        error: |problem, id| error::body(problem, id, "https://keyward.example/docs"),
        security: json!({
            "accountKey": {
                "type": "http",
                "scheme": "bearer",
                "description": "An account key, `pk_live_…` or `pk_test_…`.",
            },
        }),
        servers: json!([{"url": "/"}, {"url": "/v1", "description": "The same under a version."}]),
        sources: vec![
            source("createCustomer", "201", id, "/id"),
            source("getCustomer", "200", id, "/id"),
            source("updateCustomer", "200", id, "/id"),
            source("rotateCustomerKey", "200", id, "/id"),
        ],
    }
}
