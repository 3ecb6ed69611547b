//! The document of surface 2.

use serde_json::json;
use utoipa::OpenApi;

use super::complete::Face;
use super::links::source;
use crate::surfaces::Surface;
use crate::surfaces::admin::{
    admin_keys, api_keys, audit, customers, environments, error, gateways, grants, leaks, tiers, usage,
    users, webhooks,
};

/// The endpoints.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Keyward: administration",
        description = "Operators manage accounts (here called customers), their keys, and look at tiers, usage, gateways \
            and the audit trail. A viewer reads, an operator changes, an owner manages admin keys too.\n\nA known path \
            with another method is 405 with `Allow`; bodies are JSON of at most 64 KiB; unknown fields are ignored.",
    ),
    tags(
        (name = "customers", description = "Accounts."),
        (name = "keys", description = "Account keys."),
        (name = "users", description = "Persons of an account, as surfaces 3 and 4 know them."),
        (name = "usage", description = "What accounts used."),
        (name = "catalogue", description = "Tiers."),
        (name = "webhooks", description = "Who is told of what, and what came of telling."),
        (name = "operators", description = "Admin keys; for owners alone."),
        (name = "operations", description = "Gateways and the audit trail."),
    ),
    paths(
        customers::list::list, customers::create::create, customers::show::show, customers::update::update,
        customers::delete::delete, environments::update, api_keys::list::list, api_keys::create::create,
        api_keys::revoke::revoke, api_keys::rotate::rotate, usage::show, usage::export::export,
        usage::export_all::export, tiers::list, gateways::list::list,
        gateways::confirm_snapshot::confirm, audit::list,
        users::list::list, users::create::create, users::show::show, users::update::update, users::delete::delete,
        webhooks::list::list, webhooks::create::create, webhooks::show::show, webhooks::update::update,
        webhooks::delete::delete, webhooks::rotate_secret::rotate_secret, webhooks::test::test,
        webhooks::deliveries::list, webhooks::delivery::show, webhooks::replay::replay, audit::export::export,
        audit::verify::verify, api_keys::update::update, leaks::report, grants::list::list, grants::create::create,
        gateways::show::show, gateways::update::update, gateways::tokens::list::list,
        gateways::tokens::create::create, gateways::tokens::revoke::revoke,
        admin_keys::list::list, admin_keys::create::create, admin_keys::revoke::revoke,
    ),
    components(schemas(error::Error)),
)]
struct Endpoints;

/// The surface.
#[must_use]
pub fn face() -> Face {
    let (customer, key, user, admin_key) = ("customer_id", "api_key_id", "user_id", "admin_key_id");
    Face {
        surface: Surface::Admin,
        at: "/openapi/admin.json",
        title: "Administration",
        generated: Endpoints::openapi(),
        error: error::body,
        security: json!({
            "adminKey": {
                "type": "apiKey",
                "in": "header",
                "name": "x-api-key",
                "description": "An admin key, `ak_…`.",
            },
        }),
        servers: json!([{"url": "/"}]),
        sources: vec![
            source("createCustomer", "201", customer, "/customer/customer_id"),
            source("createCustomer", "201", key, "/customer/api_key_id"),
            source("getCustomer", "200", customer, "/customer_id"),
            source(
                "getCustomer",
                "200",
                "environment_id",
                "/environments/0/environment_id",
            ),
            source("createKey", "201", key, "/api_key_id"),
            source("rotateKey", "200", key, "/api_key_id"),
            source("createUser", "201", user, "/user_id"),
            source("createWebhook", "201", "webhook_id", "/webhook_id"),
            source("testWebhook", "202", "delivery_id", "/delivery_id"),
            source("createGatewayToken", "201", "token_id", "/token_id"),
            source("createAdminKey", "201", admin_key, "/admin_key_id"),
        ],
    }
}
