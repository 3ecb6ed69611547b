//! `PUT` and `PATCH /admin/customers/{customer_id}`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, AccountStatus};

use crate::App;
use crate::domain::account::Metadata;
use crate::domain::refusal::InvalidField;
use crate::domain::text::{self, MAX_NAME, Name};
use crate::operations::accounts::{self, Edit};
use crate::operations::identify::AdminCaller;
use crate::surfaces::admin::wire::{self, KeyIdShown};
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Changes what is given of an account.
///
/// # Errors
/// When it isn't there or is cancelled, or a field breaks a rule.
pub async fn update(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<AccountId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let edit = edit(&fields)?;
    let updated = accounts::update(&app.registry, &caller.actor, id, edit).await?;
    let body = wire::customer(&updated.value, KeyIdShown::Masked);
    Ok(settled::with(&updated.settled, axum::Json(body)))
}

fn edit(fields: &Fields) -> Result<Edit, InvalidField> {
    Ok(Edit {
        company_name: fields
            .text("company_name")?
            .read(|typed| Name::parse("company_name", typed, MAX_NAME))?
            .not_null("company_name")?,
        contact_email: fields
            .text("contact_email")?
            .read(|typed| text::email("contact_email", typed))?
            .not_null("contact_email")?,
        tier: fields.text("tier")?.not_null("tier")?.map(str::to_owned),
        status: fields.text("status")?.read(status)?.not_null("status")?,
        contract_start: wire::contract_start(fields)?.clearable(),
        contract_end: wire::contract_end(fields)?.clearable(),
        metadata: fields
            .object("metadata")?
            .read(|notes| Metadata::parse(notes.clone()))?
            .clearable()
            .map(Option::unwrap_or_default),
        overrides: wire::overrides(fields)?.clearable(),
    })
}

fn status(text: &str) -> Result<AccountStatus, InvalidField> {
    match text {
        "active" => Ok(AccountStatus::Active),
        "suspended" => Ok(AccountStatus::Suspended),
        "cancelled" => Err(InvalidField::new(
            "status",
            "can't be set to cancelled: delete the customer instead",
        )),
        _ => Err(InvalidField::new("status", "must be active or suspended")),
    }
}
