//! `PATCH /api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}`

use axum::extract::State;
use axum::response::Response;

use super::place::{Number, Sees};
use super::wire::Key;
use crate::App;
use crate::domain::user_key::Switch;
use crate::operations::user_keys;
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Switches a key off or on.
///
/// # Errors
/// When the caller lacks a claim, no such key is in its sight, the status is none, or an expired key is to be active.
pub async fn update(
    State(app): State<App>,
    Sees(viewer): Sees,
    Number(number): Number,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let to = Switch::parse("status", fields.text("status")?.required("status")?)?;
    let updated = user_keys::set_status(&app.registry, &viewer, number, to).await?;
    let body = axum::Json(Key::new(&updated.value.value, updated.value.now));
    Ok(settled::with(&updated.settled, body))
}
