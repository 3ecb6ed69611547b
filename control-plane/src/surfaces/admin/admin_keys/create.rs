//! `POST /admin/admin-keys`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::wire;
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

/// Makes an admin key, which is shown in this answer and never again.
///
/// # Errors
/// When the name or the role is missing or breaks a rule.
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
    let mut body = wire(key);
    if let Some(body) = body.as_object_mut() {
        body.insert("admin_key".into(), plain.expose().into());
    }
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}
