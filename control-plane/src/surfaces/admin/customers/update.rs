//! `PUT` and `PATCH /admin/customers/{customer_id}`

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, AccountStatus};
use utoipa::ToSchema;

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

/// What is to be changed of an account; what is left out stays.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"tier": "scale", "status": "active", "contract_end": "2028-12-31"}))]
pub struct CustomerEdit {
    /// What the company is called.
    #[schema(format = "name-255", nullable = false)]
    pub company_name: Option<String>,
    /// Where its contact is reached.
    #[schema(format = "e-mail", nullable = false)]
    pub contact_email: Option<String>,
    /// The key of a tier in the catalogue.
    #[schema(format = "tier", nullable = false)]
    pub tier: Option<String>,
    /// A deletion cancels an account.
    #[schema(format = "settable-status", nullable = false)]
    pub status: Option<String>,
    /// The first day of the contract; null: none.
    #[schema(format = "day")]
    pub contract_start: Option<String>,
    /// The last day of the contract, not before its first; null: none.
    #[schema(format = "day")]
    pub contract_end: Option<String>,
    /// Replaces all notes; null clears them.
    #[schema(format = "note")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// For the custom tier alone; null clears them.
    pub overrides: Option<wire::OverridesShown>,
}

/// Changes what is given of an account.
///
/// # Errors
/// When it isn't there or is cancelled, or a field breaks a rule.
#[utoipa::path(
    method(put, patch),
    path = "/admin/customers/{customer_id}",
    operation_id = "updateCustomer",
    tag = "customers",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    request_body = CustomerEdit,
    responses(
        (status = 200, description = "As it is now.", body = wire::Customer),
        (status = 409, description = "The account is cancelled."),
    ),
)]
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
