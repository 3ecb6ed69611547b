//! `GET /customers`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::wire::Customer;
use crate::App;
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::store::customers::Page;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// Lists the end customers, newest first.
///
/// # Errors
/// When `limit` or `offset` is out of range.
pub async fn list(
    State(app): State<App>,
    caller: PortalCaller,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let page = Page {
        limit: params.whole_number("limit", 1..=100)?.unwrap_or(25),
        offset: params.whole_number("offset", 0..=i64::MAX)?.unwrap_or(0),
    };
    let listed = end_customers::list(&app.registry, &caller, page).await?;
    let data: Vec<_> = listed
        .customers
        .iter()
        .map(|(customer, last_used_at)| Customer::new(customer, *last_used_at))
        .collect();
    let shown = i64::try_from(data.len()).unwrap_or(i64::MAX);
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "total": listed.total,
        "limit": page.limit,
        "offset": page.offset,
        "hasMore": page.offset.saturating_add(shown) < listed.total && shown > 0,
    })))
}
