//! `POST /admin/customers`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use std::collections::BTreeMap;

use crate::App;
use crate::domain::account::Metadata;
use crate::domain::text::{self, MAX_NAME, Name};
use crate::operations::accounts::{self, NewAccount};
use crate::operations::identify::AdminCaller;
use crate::surfaces::admin::wire::{self, KeyIdShown};
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// An account to be made.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "company_name": "Acme Financial", "contact_email": "ops@acme.example", "tier": "growth",
    "contract_start": "2026-01-01", "contract_end": "2027-12-31", "metadata": {"crm": "A-1042"},
}))]
pub struct NewCustomer {
    /// What the company is called.
    #[schema(format = "name-255")]
    pub company_name: String,
    /// Where its contact is reached.
    #[schema(format = "e-mail")]
    pub contact_email: String,
    /// The key of a tier in the catalogue.
    #[schema(format = "tier")]
    pub tier: String,
    /// The first day of the contract.
    #[schema(format = "day")]
    pub contract_start: Option<String>,
    /// The last day of the contract, not before its first.
    #[schema(format = "day")]
    pub contract_end: Option<String>,
    /// Notes of the operator's own: at most 50.
    #[schema(format = "note")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// What was negotiated instead of the tier's numbers; for the custom tier alone.
    pub overrides: Option<wire::OverridesShown>,
}

/// A new account with its first key, in clear this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "customer": {
        "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e", "company_name": "Acme Financial",
        "contact_email": "ops@acme.example", "tier": "growth", "status": "active",
        "api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f", "annual_commitment": 250_000,
        "annual_validation_limit": 10_000_000, "contract_start": null, "contract_end": null, "metadata": {},
        "created_at": "2026-01-19T10:30:00Z", "updated_at": "2026-01-19T10:30:00Z",
    },
    "api_key": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
    "tier_details": {
        "tier": "growth", "name": "Growth", "annual_price": 250_000, "annual_limit": 10_000_000,
        "rate_limit": 100, "burst_limit": 200, "sla": "99.95%",
    },
    "warning": "Save the API key now - it will not be shown again",
}))]
pub struct CustomerMade<'a> {
    customer: wire::Customer,
    #[schema(pattern = "^pk_live_[0-9A-Za-z]{38}$")]
    api_key: &'a str,
    #[schema(required = true)]
    tier_details: Option<wire::Tier>,
    warning: &'static str,
}

/// Makes an account with its first key, which is shown in this answer and never again.
///
/// # Errors
/// When a field is missing or breaks a rule.
#[utoipa::path(
    post,
    path = "/admin/customers",
    operation_id = "createCustomer",
    tag = "customers",
    request_body = NewCustomer,
    responses(
        (status = 201, description = "Made. Save the key: it is not shown again.", body = CustomerMade),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let wanted = NewAccount {
        company_name: Name::parse(
            "company_name",
            fields.text("company_name")?.required("company_name")?,
            MAX_NAME,
        )?,
        contact_email: text::email(
            "contact_email",
            fields.text("contact_email")?.required("contact_email")?,
        )?,
        tier: fields.text("tier")?.required("tier")?.to_owned(),
        contract: wire::contract(&fields)?,
        metadata: fields
            .object("metadata")?
            .read(|notes| Metadata::parse(notes.clone()))?
            .or_null()
            .unwrap_or_default(),
        overrides: wire::overrides(&fields)?.or_null(),
    };
    let made = accounts::create(&app.registry, &caller.actor, wanted).await?;
    let created = &made.value;
    let tier = app.registry.catalogue.tier(&created.found.account.tier);
    let body = CustomerMade {
        customer: wire::customer(&created.found, KeyIdShown::Clear),
        api_key: created.plain.expose(),
        tier_details: tier.map(wire::tier),
        warning: "Save the API key now - it will not be shown again",
    };
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}
