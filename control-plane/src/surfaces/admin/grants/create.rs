//! `POST /admin/customers/{customer_id}/quota-grants`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyward_contract::AccountId;
use utoipa::ToSchema;

use super::GrantBody;
use crate::App;
use crate::domain::grant::{MAX_GRANTED, MAX_REASON};
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::grants::{self, NewGrant};
use crate::operations::identify::AdminCaller;
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Validations to be granted.
#[derive(Debug, ToSchema)]
#[schema(as = NewQuotaGrant, example = json!({"validations": 500_000, "reason": "spring campaign"}))]
pub struct GrantWanted {
    /// How many, beyond the annual limit.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub validations: u64,
    /// Why.
    #[schema(format = "name-200")]
    pub reason: Option<String>,
}

/// Grants extra validations for the running contract year. Gateways let them through from the answer on.
///
/// # Errors
/// When the account isn't there, is cancelled or has as many grants as there may be, or a field breaks a rule.
#[utoipa::path(
    post,
    path = "/admin/customers/{customer_id}/quota-grants",
    operation_id = "grantQuota",
    tag = "usage",
    params(("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")),
    request_body = GrantWanted,
    responses(
        (status = 201, description = "Granted.", body = GrantBody),
        (status = 409, description = "The account is cancelled, or has a thousand grants in this contract year."),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Id(account): Id<AccountId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
    let made = grants::grant(&app.registry, &caller.actor, account, wanted).await?;
    let body = axum::Json(GrantBody::from(&made.value));
    Ok(settled::with(&made.settled, (StatusCode::CREATED, body)))
}

fn wanted(fields: &Fields) -> Result<NewGrant, InvalidField> {
    let validations = fields.whole_number("validations")?.required("validations")?;
    if !(1..=MAX_GRANTED).contains(&validations) {
        let reason = format!("must be a whole number from 1 to {MAX_GRANTED}");
        return Err(InvalidField::new("validations", reason));
    }
    let reason = fields.text("reason")?.or_null();
    Ok(NewGrant {
        validations,
        reason: reason
            .map(|text| Name::parse("reason", text, MAX_REASON))
            .transpose()?,
    })
}
