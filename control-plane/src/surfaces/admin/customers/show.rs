//! `GET /admin/customers/{customer_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::AccountId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::accounts;
use crate::surfaces::admin::wire::{self, KeyIdShown};
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// An account with its environments.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e", "company_name": "Acme Financial",
    "contact_email": "ops@acme.example", "tier": "growth", "status": "active", "api_key_id": "019***d7f",
    "annual_commitment": 250_000, "annual_validation_limit": 10_000_000, "contract_start": null,
    "contract_end": null, "metadata": {}, "created_at": "2026-01-19T10:30:00Z",
    "updated_at": "2026-01-19T10:30:00Z",
    "environments": [
        {"environment_id": "60303ae22b998861", "kind": "test", "user_key_limit": 20},
        {"environment_id": "9f86d081884c7d65", "kind": "production", "user_key_limit": 20},
    ],
}))]
pub struct CustomerShown {
    #[serde(flatten)]
    customer: wire::Customer,
    #[schema(min_items = 2, max_items = 2)]
    environments: Vec<wire::Environment>,
}

/// Shows an account with its environments.
///
/// # Errors
/// When it isn't there.
#[utoipa::path(
    get,
    path = "/admin/customers/{customer_id}",
    operation_id = "getCustomer",
    tag = "customers",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    responses(
        (status = 200, description = "The account.", body = CustomerShown),
    ),
)]
pub async fn show(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Json<CustomerShown>, Problem> {
    let found = accounts::find(&app.registry, id).await?;
    Ok(Json(CustomerShown {
        customer: wire::customer(&found, KeyIdShown::Masked),
        environments: wire::environments(&found.account),
    }))
}
