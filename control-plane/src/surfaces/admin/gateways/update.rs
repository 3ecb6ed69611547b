//! `PUT /admin/gateways/{gateway_id}`

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, Environment};
use utoipa::ToSchema;

use super::GatewayDetail;
use crate::App;
use crate::domain::gateway::GatewayId;
use crate::domain::refusal::InvalidField;
use crate::operations::gateways::{self, Wanted};
use crate::operations::identify::AdminCaller;
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// What is to be said of a gateway; what is left out stays.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"blocked": false, "accounts": null, "environment": null}))]
pub struct GatewayWanted {
    /// It is not let in, whatever it shows.
    #[schema(nullable = false)]
    pub blocked: Option<bool>,
    /// It is sent these customers alone; null: all.
    #[schema(format = "uuid", max_items = 1000)]
    pub accounts: Option<Vec<String>>,
    /// It is sent keys of this environment alone; null: of both.
    #[schema(format = "environment")]
    pub environment: Option<String>,
}

/// The most accounts of one gateway.
const MAX_ACCOUNTS: usize = 1_000;

/// Blocks a gateway or lets it in, and says what it is sent, whether or not it was ever seen. The stream of one that is
/// blocked or is sent something else ends at once; it may serve on with what it has for as long as any gateway that is cut off.
///
/// # Errors
/// When a field breaks a rule or names a customer that isn't there.
#[utoipa::path(
    put,
    path = "/admin/gateways/{gateway_id}",
    operation_id = "updateGateway",
    tag = "operations",
    params(("gateway_id" = String, Path, format = "gateway-id", description = "The gateway's id.", example = "edge-1")),
    request_body = GatewayWanted,
    responses(
        (status = 200, description = "As it is now.", body = GatewayDetail),
    ),
)]
pub async fn update(
    State(app): State<App>,
    caller: AdminCaller,
    Id(id): Id<GatewayId>,
    Json(fields): Json,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
    let changed = gateways::configure(&app.registry, &caller.actor, &id, wanted).await?;
    let body = axum::Json(GatewayDetail::new(&id, changed.value));
    Ok(settled::with(&changed.settled, body))
}

fn wanted(fields: &Fields) -> Result<Wanted, InvalidField> {
    Ok(Wanted {
        blocked: fields.truth("blocked")?.not_null("blocked")?,
        accounts: fields.texts("accounts")?.read(|ids| accounts(&ids))?.clearable(),
        environment: fields
            .text("environment")?
            .read(|text| {
                text.parse::<Environment>()
                    .map_err(|()| InvalidField::new("environment", "must be test or production"))
            })?
            .clearable(),
    })
}

fn accounts(ids: &[&str]) -> Result<BTreeSet<AccountId>, InvalidField> {
    if ids.len() > MAX_ACCOUNTS {
        let reason = format!("must have at most {MAX_ACCOUNTS} customers");
        return Err(InvalidField::new("accounts", reason));
    }
    let ids = ids.iter().map(|id| id.parse::<AccountId>());
    ids.collect::<Result<_, _>>()
        .map_err(|_| InvalidField::new("accounts", "must hold customers' ids"))
}
