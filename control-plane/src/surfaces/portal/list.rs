//! `GET /customers`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::wire::Customer;
use crate::App;
use crate::operations::end_customers;
use crate::operations::identify::PortalCaller;
use crate::store::customers::Page;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// A piece of the list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "object": "list",
    "data": [{
        "object": "customer", "id": "clx8f2k9h0001qr5tgvwxyz12", "name": "Acme University",
        "environment": "production", "createdAt": "2026-01-19T10:30:00.000Z",
        "updatedAt": "2026-01-19T10:30:00.000Z", "lastUsedAt": null,
    }],
    "total": 1, "limit": 25, "offset": 0, "hasMore": false,
}))]
pub struct CustomerList<'a> {
    /// Always `list`.
    #[schema(pattern = "^list$", example = "list")]
    object: &'static str,
    /// The end customers, newest first.
    #[schema(max_items = 100)]
    data: Vec<Customer<'a>>,
    /// How many there are in all.
    #[schema(minimum = 0)]
    total: i64,
    /// The `limit` that was in force.
    #[schema(minimum = 1, maximum = 100)]
    limit: i64,
    /// The `offset` that was in force.
    #[schema(minimum = 0)]
    offset: i64,
    /// Whether there are more after these.
    has_more: bool,
}

/// Which piece of the list is wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// The most that are shown.
    #[param(minimum = 1, maximum = 100, default = 25, example = 25)]
    pub limit: Option<i64>,
    /// How many of the newest are left out.
    #[param(minimum = 0, default = 0, example = 0)]
    pub offset: Option<i64>,
}

/// Lists the end customers, newest first.
///
/// # Errors
/// When `limit` or `offset` is out of range.
#[utoipa::path(
    get,
    path = "/customers",
    operation_id = "listCustomers",
    tag = "customers",
    params(ListParams),
    responses((status = 200, description = "A piece of the list.", body = CustomerList)),
)]
pub async fn list(State(app): State<App>, caller: PortalCaller, params: Params) -> Result<Response, Problem> {
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
    Ok(Json(CustomerList {
        object: "list",
        data,
        total: listed.total,
        limit: page.limit,
        offset: page.offset,
        has_more: page.offset.saturating_add(shown) < listed.total && shown > 0,
    })
    .into_response())
}
