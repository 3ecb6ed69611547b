//! `POST /admin/admin-keys`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{AdminKeyShown, wire};
use crate::App;
use crate::domain::admin::Role;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::admin_keys;
use crate::operations::identify::AdminCaller;
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

const MAX_KEY_NAME: usize = 100;

/// An admin key to be made.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"name": "on call", "role": "operator"}))]
pub struct NewAdminKey {
    /// What it is called.
    #[schema(format = "name-100")]
    pub name: String,
    /// What its holder may do.
    #[schema(format = "role")]
    pub role: String,
}

/// A new admin key, in clear this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "admin_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d80", "name": "on call", "role": "operator",
    "status": "active", "created_at": "2026-01-19T10:30:00Z", "last_used_at": null,
    "admin_key": "ak_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
}))]
pub struct AdminKeyMade<'a> {
    #[serde(flatten)]
    key: AdminKeyShown,
    #[schema(pattern = "^ak_[0-9A-Za-z]{38}$")]
    admin_key: &'a str,
}

/// Makes an admin key, which is shown in this answer and never again.
///
/// # Errors
/// When the name or the role is missing or breaks a rule.
#[utoipa::path(
    post,
    path = "/admin/admin-keys",
    operation_id = "createAdminKey",
    tag = "operators",
    request_body = NewAdminKey,
    responses(
        (status = 201, description = "Made. Save the key: it is not shown again.", body = AdminKeyMade),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let name = Name::parse("name", fields.text("name")?.required("name")?, MAX_KEY_NAME)?;
    let role = Role::from_stored(fields.text("role")?.required("role")?)
        .ok_or_else(|| InvalidField::new("role", "must be owner, operator or viewer"))?;
    let made = admin_keys::create(&app.registry, &caller.actor, name, role).await?;
    let (key, plain) = &made.value;
    let body = AdminKeyMade {
        key: wire(key),
        admin_key: plain.expose(),
    };
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}
