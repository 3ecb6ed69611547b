//! `POST /admin/gateways/{gateway_id}/tokens`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{GatewayTokenShown, wire};
use crate::App;
use crate::domain::gateway::GatewayId;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::text::Name;
use crate::operations::gateways::{self, NewToken};
use crate::operations::identify::AdminCaller;
use crate::surfaces::body::MaybeJson;
use crate::surfaces::fields::Fields;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// The longest name of a token, in characters.
pub const MAX_TOKEN_NAME: usize = 100;

/// A token to be made. Everything may be left out, the body too.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"name": "autumn", "expires_at": "2099-12-31"}))]
pub struct GatewayTokenWanted {
    /// What it is called.
    #[schema(format = "name-100")]
    pub name: Option<String>,
    /// From when on it is dead: a date or date-time in the future.
    #[schema(format = "future")]
    pub expires_at: Option<String>,
}

/// A new token, in clear this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "token_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d86", "gateway_id": "edge-1", "name": "autumn", "mask": "gw_4f…2C3",
    "created_at": "2026-01-19T10:30:00Z", "expires_at": null, "last_used_at": null,
    "token": "gw_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
}))]
pub struct GatewayTokenMade<'a> {
    #[serde(flatten)]
    shown: GatewayTokenShown,
    #[schema(pattern = "^gw_[0-9A-Za-z]{38}$")]
    token: &'a str,
}

/// Makes a token that lets this gateway in and no other, whether or not it was ever seen. It is shown in this answer and
/// never again.
///
/// # Errors
/// When a field breaks a rule, or the gateway has as many tokens as it may have.
#[utoipa::path(
    post,
    path = "/admin/gateways/{gateway_id}/tokens",
    operation_id = "createGatewayToken",
    tag = "operations",
    params(("gateway_id" = String, Path, format = "gateway-id", description = "The gateway's id.", example = "edge-1")),
    request_body = Option<GatewayTokenWanted>,
    responses(
        (status = 201, description = "Made. Save the token: it is not shown again.", body = GatewayTokenMade),
        (status = 409, description = "The gateway has sixteen living tokens."),
    ),
)]
pub async fn create(
    State(app): State<App>,
    caller: AdminCaller,
    Id(gateway): Id<GatewayId>,
    MaybeJson(fields): MaybeJson,
) -> Result<Response, Problem> {
    let wanted = wanted(&fields)?;
    let made = gateways::create_token(&app.registry, &caller.actor, gateway, wanted).await?;
    let (token, plain) = &made.value;
    let body = GatewayTokenMade {
        shown: wire(token),
        token: plain.expose(),
    };
    Ok(settled::with(
        &made.settled,
        (StatusCode::CREATED, axum::Json(body)),
    ))
}

fn wanted(fields: &Fields) -> Result<NewToken, InvalidField> {
    let name = fields.text("name")?.or_null();
    Ok(NewToken {
        name: name
            .map(|name| Name::parse("name", name, MAX_TOKEN_NAME))
            .transpose()?,
        expires_at: fields
            .text("expires_at")?
            .read(|text| moment::instant("expires_at", text))?
            .or_null(),
    })
}
