//! `GET /admin/tiers`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::wire;
use crate::App;

/// Lists the catalogue.
pub async fn list(State(app): State<App>) -> Json<Value> {
    let tiers: Vec<_> = app.registry.catalogue.tiers().iter().map(wire::tier).collect();
    Json(json!({"tiers": tiers}))
}
