//! The admin listener: is it alive, is it ready, what has it counted.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::store::changes;
use crate::store::webhooks::deliveries;

/// What the admin listener works with.
#[derive(Clone, Debug)]
struct Health {
    app: App,
    stop: CancellationToken,
}

/// The admin listener's routes.
pub fn routes(app: App, stop: CancellationToken) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Health { app, stop })
}

async fn readyz(State(health): State<Health>) -> Response {
    let revision = changes::head(&health.app.registry.store).await;
    // Nothing depends on it: it is shown, and no reason not to be ready.
    let redis = health.app.registry.live.reach().await;
    let draining = health.stop.is_cancelled();
    let ready = revision.is_ok() && !draining;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let detail = json!({
        "ready": ready,
        "draining": draining,
        "store": if revision.is_ok() { "up" } else { "away" },
        "redis": redis,
        "revision": revision.ok(),
        "gateways": health.app.registry.gateways.status().len(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    (status, Json(detail)).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    let registry = &health.app.registry;
    if let Ok(revision) = changes::head(&registry.store).await {
        health
            .app
            .telemetry
            .standing(revision, registry.gateways.status().len());
    }
    if let Ok(pending) = deliveries::pending(registry.store.readers()).await {
        health.app.telemetry.pending_deliveries(pending);
    }
    let text = health.app.telemetry.render();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
