//! `POST /keys`

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, header};
use keyward_contract::UserId;
use utoipa::ToSchema;

use super::permission::Writer;
use super::wire::{self, Key};
use crate::App;
use crate::domain::refusal::{InvalidField, Missing, Refusal};
use crate::operations::company_keys::{self, NewKey};
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// A key to be made.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "userId": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d84", "whitelistedIPs": ["203.0.113.0/24"],
    "description": "the billing service",
}))]
pub struct KeyWanted {
    /// Whose it is to be: the id of a user of the company.
    #[schema(format = "uuid")]
    pub user_id: String,
    /// The addresses and CIDR blocks from which it may be used; null: from all.
    #[serde(rename = "whitelistedIPs")]
    #[schema(format = "address", min_items = 1, max_items = 100)]
    pub whitelisted_ips: Option<Vec<String>>,
    /// What it is for.
    #[schema(format = "name-200")]
    pub description: Option<String>,
}

/// Makes a key for a user of the company.
///
/// # Errors
/// When there is no such user, or a field breaks a rule.
#[utoipa::path(
    post,
    path = "/keys",
    operation_id = "createKey",
    tag = "keys",
    request_body = KeyWanted,
    responses(
        (
            status = 201,
            description = "Made.",
            body = Key,
            headers(("Location" = String, description = "Its path.")),
        ),
        (status = 404, description = "The company has no such user."),
    ),
)]
pub async fn create(State(app): State<App>, writer: Writer, Json(fields): Json) -> Result<Response, Problem> {
    let made = company_keys::create(&app.registry, writer.caller(), wanted(&fields)?).await?;
    let location = format!("/keys/{}", made.value.key.id);
    let answer = (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        axum::Json(Key::new(&made.value)),
    );
    Ok(settled::with(&made.settled, answer))
}

fn wanted(fields: &Fields) -> Result<NewKey, Problem> {
    let typed = fields.text("userId")?.required("userId")?.trim();
    if typed.is_empty() {
        return Err(InvalidField::new("userId", "must not be empty").into());
    }
    // What is malformed elsewhere is said first: whether there is such a user, only the store knows.
    let (allowed_ips, description) = (wire::whitelisted_ips(fields)?, wire::description(fields)?);
    let user: UserId = typed.parse().map_err(|_| Refusal::from(Missing::User))?;
    Ok(NewKey {
        user,
        allowed_ips: allowed_ips.or_null(),
        description: description.or_null(),
    })
}
