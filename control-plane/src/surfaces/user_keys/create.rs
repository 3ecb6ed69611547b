//! `POST /api/v1/psp/product-manager/customer-user-api-keys`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use utoipa::ToSchema;

use super::place::Creates;
use super::wire::NewKey;
use crate::App;
use crate::domain::text::Name;
use crate::domain::user_key::MAX_USER_KEY_NAME;
use crate::operations::user_keys;
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// A key to be made.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"name": "text"}))]
pub struct KeyWanted {
    /// What it is called; names may repeat.
    #[schema(format = "name-50")]
    pub name: String,
}

/// Makes a key of the caller's own, which is shown in this answer and never again.
///
/// # Errors
/// When the caller lacks a claim, there is no such environment or it has as many keys as it may, or the name breaks a
/// rule.
#[utoipa::path(
    post,
    path = "/api/v1/psp/product-manager/customer-user-api-keys",
    operation_id = "createKey",
    tag = "keys",
    request_body = KeyWanted,
    responses(
        (status = 201, description = "Made. Save the key: it is not shown again.", body = NewKey),
        (status = 404, description = "There is no such environment."),
        (status = 409, description = "The environment has as many keys as it may."),
    ),
)]
pub async fn create(
    State(app): State<App>,
    Creates(viewer): Creates,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let name = Name::parse("name", fields.text("name")?.required("name")?, MAX_USER_KEY_NAME)?;
    let made = user_keys::create(&app.registry, &viewer, name).await?;
    let body = axum::Json(NewKey::new(&made.value.shown, &made.value.plain));
    Ok(settled::with(&made.settled, (StatusCode::CREATED, body)))
}
