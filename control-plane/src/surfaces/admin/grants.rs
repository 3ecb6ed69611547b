//! `/admin/customers/{customer_id}/quota-grants`: extra validations for a contract year.

pub mod create;
pub mod list;

use serde::Serialize;
use utoipa::ToSchema;

use crate::operations::grants::Granted;

/// Extra validations that were granted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = QuotaGrant, example = json!({
    "grant_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d85", "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "validations": 500_000, "reason": "spring campaign", "period_start": "2026-01-01T00:00:00Z",
    "period_end": "2027-01-01T00:00:00Z", "created_at": "2026-03-19T10:30:00Z",
    "created_by": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86",
}))]
pub struct GrantBody {
    #[schema(format = "uuid")]
    grant_id: String,
    #[schema(format = "uuid")]
    customer_id: String,
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    validations: u64,
    #[schema(required = true)]
    reason: Option<String>,
    /// The contract year that it counts in.
    #[schema(format = DateTime)]
    period_start: String,
    /// The first instant after that year.
    #[schema(format = DateTime)]
    period_end: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// The id of the admin key that made it.
    created_by: String,
}

impl From<&Granted> for GrantBody {
    fn from(Granted { grant, period }: &Granted) -> Self {
        Self {
            grant_id: grant.id.to_string(),
            customer_id: grant.account.to_string(),
            validations: grant.validations,
            reason: grant.reason.as_ref().map(|reason| reason.as_str().to_owned()),
            period_start: period.start.to_rfc3339_seconds(),
            period_end: period.end.to_rfc3339_seconds(),
            created_at: grant.created_at.to_rfc3339_seconds(),
            created_by: grant.created_by.clone(),
        }
    }
}
