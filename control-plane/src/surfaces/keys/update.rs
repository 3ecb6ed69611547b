//! `PUT /keys/{keyId}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::KeyId;
use utoipa::ToSchema;

use super::permission::Writer;
use super::wire::{self, Key};
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::company_keys::{self, Edit};
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// What is to be changed of a key; what is left out stays.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"apiVersion": "2026-11-01", "description": null}))]
pub struct KeyEdit {
    /// One of the versions that there are.
    #[schema(format = "api-version", nullable = false)]
    pub api_version: Option<String>,
    /// The addresses and CIDR blocks from which it may be used; null: from all.
    #[serde(rename = "whitelistedIPs")]
    #[schema(format = "address", min_items = 1, max_items = 100)]
    pub whitelisted_ips: Option<Vec<String>>,
    /// What it is for; null clears it.
    #[schema(format = "name-200")]
    pub description: Option<String>,
}

/// Changes what is sent of an account key; null clears.
///
/// # Errors
/// When it isn't there or is deleted, a field breaks a rule, or the version can't be gone back to any more.
#[utoipa::path(
    put,
    path = "/keys/{keyId}",
    operation_id = "updateKey",
    tag = "keys",
    params(("keyId" = String, Path, format = "uuid", description = "The key's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f")),
    request_body = KeyEdit,
    responses(
        (status = 200, description = "As it is now.", body = Key),
        (status = 409, description = "It can't go back to an earlier version any more."),
    ),
)]
pub async fn update(
    State(app): State<App>,
    writer: Writer,
    Id(id): Id<KeyId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let edited = company_keys::update(&app.registry, writer.caller(), id, edit(&fields)?).await?;
    Ok(settled::with(
        &edited.settled,
        axum::Json(Key::new(&edited.value)),
    ))
}

fn edit(fields: &Fields) -> Result<Edit, InvalidField> {
    let api_version = fields.text("apiVersion")?.not_null("apiVersion")?;
    Ok(Edit {
        api_version: api_version.map(str::to_owned),
        description: wire::description(fields)?.clearable(),
        allowed_ips: wire::whitelisted_ips(fields)?.clearable(),
    })
}
