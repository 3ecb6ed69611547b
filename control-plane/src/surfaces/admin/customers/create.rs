//! `POST /admin/customers`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::App;
use crate::domain::account::Metadata;
use crate::domain::text::{self, MAX_NAME, Name};
use crate::operations::accounts::{self, NewAccount};
use crate::operations::identify::AdminCaller;
use crate::surfaces::admin::wire::{self, KeyIdShown};
use crate::surfaces::body::Json;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Makes an account with its first key, which is shown in this answer and never again.
///
/// # Errors
/// When a field is missing or breaks a rule.
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
    let body = json!({
        "customer": wire::customer(&created.found, KeyIdShown::Clear),
        "api_key": created.plain.expose(),
        "tier_details": tier.map(wire::tier),
        "warning": "Save the API key now - it will not be shown again",
    });
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}
