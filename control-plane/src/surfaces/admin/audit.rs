//! `GET /admin/audit`

pub mod export;
pub mod verify;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::store::audit::{self, Filter, StoredEvent};
use crate::surfaces::page;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// A page of the trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    events: Vec<AuditEvent>,
    /// What `cursor` must be for the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d82", "at": "2026-01-19T10:30:00.000Z",
    "actor": {"kind": "admin_key", "id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d80"}, "action": "key.revoked",
    "target": {"kind": "key", "id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f"},
    "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e", "before": {"state": "active"},
    "after": {"state": "revoked"}, "request_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d83",
    "address": "203.0.113.7", "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}))]
pub struct AuditEvent {
    id: String,
    #[schema(format = DateTime)]
    at: String,
    actor: AuditParty,
    /// What was done.
    #[schema(example = "key.revoked")]
    action: String,
    target: AuditParty,
    /// The account that it concerns.
    #[schema(required = true)]
    customer_id: Option<String>,
    /// What it was.
    #[schema(value_type = Option<Object>, required = true)]
    before: Value,
    /// What it became.
    #[schema(value_type = Option<Object>, required = true)]
    after: Value,
    /// The call.
    request_id: String,
    /// Where it came from.
    address: String,
    /// SHA-256 over the hash before and this event.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
}

/// Who did it, or what it was done to.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditParty {
    #[schema(example = "admin_key")]
    kind: String,
    id: String,
}

/// Which changes are wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only those that concern this account.
    #[param(format = "any", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e")]
    pub customer_id: Option<String>,
    /// Only those that this actor made.
    #[param(format = "any", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d80")]
    pub actor: Option<String>,
    /// Only those of this kind.
    #[param(format = "any", example = "key.revoked")]
    pub action: Option<String>,
    /// Only those from this instant on.
    #[param(format = "instant", example = "2026-01-19")]
    pub from: Option<String>,
    /// Only those before this instant.
    #[param(format = "instant", example = "2026-01-20T10:30:00Z")]
    pub to: Option<String>,
    /// The most that are shown.
    #[param(minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: Option<i64>,
    /// The `next_cursor` of the page before.
    #[param(minimum = 1, example = 1_000)]
    pub cursor: Option<i64>,
}

/// Lists what was changed, newest first.
///
/// # Errors
/// When a filter, the limit or the cursor is none.
#[utoipa::path(
    get,
    path = "/admin/audit",
    operation_id = "listAuditEvents",
    tag = "operations",
    params(ListParams),
    responses(
        (status = 200, description = "A page, newest first.", body = AuditPage),
    ),
)]
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<AuditPage>, Problem> {
    let limit = params.whole_number("limit", 1..=1_000)?.unwrap_or(100);
    let instant = |name| -> Result<_, InvalidField> {
        params
            .text(name)?
            .map(|text| moment::instant(name, text))
            .transpose()
    };
    let filter = Filter {
        account: params.text("customer_id")?.map(str::to_owned),
        actor: params.text("actor")?.map(str::to_owned),
        action: params.text("action")?.map(str::to_owned),
        from: instant("from")?,
        to: instant("to")?,
        before: params.whole_number("cursor", 1..=i64::MAX)?,
    };
    let mut events = audit::list(app.registry.store.readers(), filter, limit + 1)
        .await
        .map_err(crate::operations::Error::from)?;
    let more = page::cut(&mut events, limit);
    let next_cursor = events.last().filter(|_| more).map(|last| last.number.to_string());
    let events = events.iter().map(wire).collect();
    Ok(Json(AuditPage { events, next_cursor }))
}

fn wire(stored: &StoredEvent) -> AuditEvent {
    let event = &stored.event;
    let party = |kind: &str, id: &str| AuditParty {
        kind: kind.to_owned(),
        id: id.to_owned(),
    };
    AuditEvent {
        id: event.id.clone(),
        at: event.at.to_rfc3339_millis(),
        actor: party(&event.actor_kind, &event.actor_id),
        action: event.action.clone(),
        target: party(&event.target_kind, &event.target_id),
        customer_id: event.account.clone(),
        before: json_of(event.before.as_deref()),
        after: json_of(event.after.as_deref()),
        request_id: event.request_id.clone(),
        address: event.address.clone(),
        hash: stored.hash.clone(),
    }
}

fn json_of(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
