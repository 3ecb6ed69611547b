//! Every URL of the REST surfaces: method, path, handler, who may.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use crate::App;
use crate::domain::admin::Role;
use crate::surfaces::call::{answer, require_account_key, require_company, require_role};
use crate::surfaces::once::once;
use crate::surfaces::problem::Problem;
use crate::surfaces::{admin, keys, oauth, openapi, portal, user_keys};

/// The API listener's routes.
pub fn api(app: &App) -> Router {
    let portal = portal(app);
    Router::new()
        .merge(portal.clone())
        .nest("/v1", portal)
        .nest("/admin", admin(app))
        .merge(keys(app))
        .merge(user_keys(app))
        .merge(openapi::routes(app))
        .merge(oauth())
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), answer))
        .with_state(app.clone())
}

/// Surface 1. Who may: the holder of a living account key whose account may call.
fn portal(app: &App) -> Router<App> {
    use portal::{create, delete as delete_customer, list, rename, rotate_key, show, usage};
    let account_key = |methods: Methods| methods.route_layer(from_fn(require_account_key));
    let once = || from_fn_with_state(app.clone(), once);
    Router::new()
        .route("/customers", account_key(get(list::list)))
        .route(
            "/customers",
            account_key(post(create::create).route_layer(once())),
        )
        .route("/customers/{customer_id}", account_key(get(show::show)))
        .route("/customers/{customer_id}", account_key(patch(rename::rename)))
        .route(
            "/customers/{customer_id}",
            account_key(delete(delete_customer::delete)),
        )
        .route("/customers/{customer_id}/usage", account_key(get(usage::usage)))
        .route(
            "/customers/{customer_id}/rotate-key",
            account_key(post(rotate_key::rotate_key).route_layer(once())),
        )
}

/// Surface 2. Who may: operators, by role.
fn admin(app: &App) -> Router<App> {
    use admin::{admin_keys, api_keys, audit, customers, environments, grants, leaks, tiers, usage, users};
    let may =
        |role: Role| move |methods: Methods| methods.route_layer(from_fn_with_state(role, require_role));
    let (viewer, operator, owner) = (may(Role::Viewer), may(Role::Operator), may(Role::Owner));
    let once = || from_fn_with_state(app.clone(), once);
    let customer = "/customers/{customer_id}";
    let keys = "/customers/{customer_id}/api-keys";
    let key = "/customers/{customer_id}/api-keys/{api_key_id}";
    let rotate = "/customers/{customer_id}/api-keys/{api_key_id}/rotate";
    let environment = "/customers/{customer_id}/environments/{environment_id}";
    let grants_of = "/customers/{customer_id}/quota-grants";
    let users_of = "/customers/{customer_id}/users";
    let user = "/customers/{customer_id}/users/{user_id}";
    Router::new()
        .route("/customers", viewer(get(customers::list::list)))
        .route(
            "/customers",
            operator(post(customers::create::create).route_layer(once())),
        )
        .route(customer, viewer(get(customers::show::show)))
        .route(customer, operator(put(customers::update::update)))
        .route(customer, operator(patch(customers::update::update)))
        .route(customer, operator(delete(customers::delete::delete)))
        .route(keys, viewer(get(api_keys::list::list)))
        .route(keys, operator(post(api_keys::create::create).route_layer(once())))
        .route(key, operator(patch(api_keys::update::update)))
        .route(key, operator(delete(api_keys::revoke::revoke)))
        .route(
            rotate,
            operator(post(api_keys::rotate::rotate).route_layer(once())),
        )
        .route(environment, operator(put(environments::update)))
        .route(grants_of, viewer(get(grants::list::list)))
        .route(
            grants_of,
            operator(post(grants::create::create).route_layer(once())),
        )
        .route(users_of, viewer(get(users::list::list)))
        .route(
            users_of,
            operator(post(users::create::create).route_layer(once())),
        )
        .route(user, viewer(get(users::show::show)))
        .route(user, operator(put(users::update::update)))
        .route(user, operator(patch(users::update::update)))
        .route(user, operator(delete(users::delete::delete)))
        .route("/usage/export", viewer(get(usage::export_all::export)))
        .route("/usage/{customer_id}", viewer(get(usage::show)))
        .route("/usage/{customer_id}/export", viewer(get(usage::export::export)))
        .route("/tiers", viewer(get(tiers::list)))
        .route("/leaks", operator(post(leaks::report).route_layer(once())))
        .merge(gateways(app))
        .route("/audit", viewer(get(audit::list)))
        .route("/audit/export", viewer(get(audit::export::export)))
        .route("/audit/verify", viewer(get(audit::verify::verify)))
        .merge(webhooks(app))
        .route("/admin-keys", owner(get(admin_keys::list::list)))
        .route(
            "/admin-keys",
            owner(post(admin_keys::create::create).route_layer(once())),
        )
        .route(
            "/admin-keys/{admin_key_id}",
            owner(delete(admin_keys::revoke::revoke)),
        )
}

/// Surface 3. Who may: somebody of a company, by key or token; each handler asks for the permission that it needs.
fn keys(app: &App) -> Router<App> {
    use keys::{create, delete as delete_key, list, show, update};
    let company = |methods: Methods| methods.route_layer(from_fn(require_company));
    let once = from_fn_with_state(app.clone(), once);
    Router::new()
        .route("/keys", company(get(list::list)))
        .route("/keys", company(post(create::create).route_layer(once)))
        .route("/keys/{key_id}", company(get(show::show)))
        .route("/keys/{key_id}", company(put(update::update)))
        .route("/keys/{key_id}", company(delete(delete_key::delete)))
}

/// Surface 4, with and without an environment. Who may: users of a company whose account may call, by their claims.
fn user_keys(app: &App) -> Router<App> {
    use user_keys::{PATH, create, delete as delete_key, list, update, usage};
    let company = |methods: Methods| methods.route_layer(from_fn(require_company));
    let once = || from_fn_with_state(app.clone(), once);
    ["", "/environments/{environment_id}"]
        .into_iter()
        .fold(Router::new(), |router, environment| {
            let keys = format!("{environment}{PATH}");
            let key = format!("{keys}/{{api_key_id}}");
            router
                .route(&keys, company(get(list::list)))
                .route(&keys, company(post(create::create).route_layer(once())))
                .route(&format!("{keys}/usage"), company(get(usage::usage)))
                .route(&key, company(patch(update::update)))
                .route(&key, company(delete(delete_key::delete)))
        })
}

/// The part of surface 2 that is about gateways.
fn gateways(app: &App) -> Router<App> {
    use admin::gateways::{confirm_snapshot, list, show, tokens, update};
    let may =
        |role: Role| move |methods: Methods| methods.route_layer(from_fn_with_state(role, require_role));
    let (viewer, operator) = (may(Role::Viewer), may(Role::Operator));
    let once = || from_fn_with_state(app.clone(), once);
    let gateway = "/gateways/{gateway_id}";
    let tokens_of = "/gateways/{gateway_id}/tokens";
    Router::new()
        .route("/gateways", viewer(get(list::list)))
        .route(gateway, viewer(get(show::show)))
        .route(gateway, operator(put(update::update)))
        .route(tokens_of, viewer(get(tokens::list::list)))
        .route(
            tokens_of,
            operator(post(tokens::create::create).route_layer(once())),
        )
        .route(
            "/gateways/{gateway_id}/confirm-snapshot",
            operator(post(confirm_snapshot::confirm).route_layer(once())),
        )
        .route(
            "/gateways/{gateway_id}/tokens/{token_id}",
            operator(delete(tokens::revoke::revoke)),
        )
}

/// The part of surface 2 that says who is told of what.
fn webhooks(app: &App) -> Router<App> {
    use admin::webhooks::{
        create, delete as delete_webhook, deliveries, delivery, list, replay, rotate_secret, show, test,
        update,
    };
    let may =
        |role: Role| move |methods: Methods| methods.route_layer(from_fn_with_state(role, require_role));
    let (viewer, operator) = (may(Role::Viewer), may(Role::Operator));
    let once = || from_fn_with_state(app.clone(), once);
    let webhook = "/webhooks/{webhook_id}";
    let replays = "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay";
    let secret = "/webhooks/{webhook_id}/rotate-secret";
    Router::new()
        .route("/webhooks", viewer(get(list::list)))
        .route("/webhooks", operator(post(create::create).route_layer(once())))
        .route(webhook, viewer(get(show::show)))
        .route(webhook, operator(put(update::update)))
        .route(webhook, operator(patch(update::update)))
        .route(webhook, operator(delete(delete_webhook::delete)))
        .route(
            secret,
            operator(post(rotate_secret::rotate_secret).route_layer(once())),
        )
        .route(
            "/webhooks/{webhook_id}/test",
            operator(post(test::test).route_layer(once())),
        )
        .route("/webhooks/{webhook_id}/deliveries", viewer(get(deliveries::list)))
        .route(
            "/webhooks/{webhook_id}/deliveries/{delivery_id}",
            viewer(get(delivery::show)),
        )
        .route(replays, operator(post(replay::replay).route_layer(once())))
}

/// Tokens for surfaces 3 and 4. Who may: everybody; `/oauth/token` asks for the secret itself.
fn oauth() -> Router<App> {
    use oauth::{jwks, metadata, token};
    Router::new()
        .route("/oauth/token", post(token::token))
        .route("/.well-known/oauth-authorization-server", get(metadata::metadata))
        .route("/.well-known/jwks.json", get(jwks::jwks))
}

type Methods = MethodRouter<App>;

async fn no_such_path(_: Request) -> Problem {
    Problem::Missing("path".into())
}

async fn method_not_allowed(_: Request) -> Problem {
    Problem::MethodNotAllowed
}
