//! `PUT /keys/{keyId}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::KeyId;

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

/// Changes what is sent of an account key; null clears.
///
/// # Errors
/// When it isn't there or is deleted, a field breaks a rule, or the version can't be gone back to any more.
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
