//! `GET /admin/customers/{customer_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::AccountId;
use serde_json::Value;

use crate::App;
use crate::operations::accounts;
use crate::surfaces::admin::wire::{self, KeyIdShown};
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows an account with its environments.
///
/// # Errors
/// When it isn't there.
pub async fn show(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Json<Value>, Problem> {
    let found = accounts::find(&app.registry, id).await?;
    let mut customer = wire::customer(&found, KeyIdShown::Masked);
    if let Some(customer) = customer.as_object_mut() {
        customer.insert("environments".into(), wire::environments(&found.account));
    }
    Ok(Json(customer))
}
