//! `PATCH /admin/customers/{customer_id}/api-keys/{api_key_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, KeyId};
use utoipa::ToSchema;

use super::create::MAX_KEY_NAME;
use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::account_keys::{self, Edit, Standing};
use crate::operations::identify::AdminCaller;
use crate::surfaces::admin::wire;
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// What is to be changed of a key; what is left out stays. A user's key keeps a name and an end.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"status": "active", "name": "ci", "allowed_ips": null}))]
pub struct KeyEdit {
    /// A deletion revokes a key.
    #[schema(format = "webhook-status", nullable = false)]
    pub status: Option<String>,
    /// What it is called; null clears it.
    #[schema(format = "name-100")]
    pub name: Option<String>,
    /// From when on it is dead: a date or date-time in the future; null: never.
    #[schema(format = "future")]
    pub expires_at: Option<String>,
    /// The addresses and CIDR blocks from which it may be used; null: from all.
    #[schema(format = "address", min_items = 1, max_items = 100)]
    pub allowed_ips: Option<Vec<String>>,
}

/// Changes what is given of a key: disables it, or enables it again.
///
/// # Errors
/// When it isn't there or is revoked, its account is cancelled, or a field breaks a rule.
#[utoipa::path(
    patch,
    path = "/admin/customers/{customer_id}/api-keys/{api_key_id}",
    operation_id = "updateKey",
    tag = "keys",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("api_key_id" = String, Path, format = "uuid", description = "The key's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f"),
    ),
    request_body = KeyEdit,
    responses(
        (status = 200, description = "As it is now.", body = wire::Key),
        (status = 409, description = "The key is revoked, or the account is cancelled."),
    ),
)]
pub async fn update(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, KeyId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let edit = edit(&fields)?;
    let updated = account_keys::update(&app.registry, &caller.actor, (account, id), edit).await?;
    let value = &updated.value;
    let body = wire::key(&value.key, value.account, value.last_used_at, value.now);
    Ok(settled::with(&updated.settled, axum::Json(body)))
}

fn edit(fields: &Fields) -> Result<Edit, InvalidField> {
    Ok(Edit {
        standing: fields
            .text("status")?
            .read(|text| match text {
                "active" => Ok(Standing::Active),
                "disabled" => Ok(Standing::Disabled),
                "revoked" => Err(InvalidField::new(
                    "status",
                    "can't be set to revoked: delete the key instead",
                )),
                _ => Err(InvalidField::new("status", "must be active or disabled")),
            })?
            .not_null("status")?,
        name: fields
            .text("name")?
            .read(|typed| Name::parse("name", typed, MAX_KEY_NAME))?
            .clearable(),
        expires_at: fields
            .text("expires_at")?
            .read(|text| moment::instant("expires_at", text))?
            .clearable(),
        allowed_ips: wire::allowed_ips(fields)?.clearable(),
    })
}
