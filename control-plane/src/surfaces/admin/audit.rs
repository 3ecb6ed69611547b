//! `GET /admin/audit`

pub mod export;
pub mod verify;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::store::audit::{self, Filter, StoredEvent};
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// Lists what was changed, newest first.
///
/// # Errors
/// When a filter, the limit or the cursor is none.
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Value>, Problem> {
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
    // One more than shown tells whether there is a next page.
    let mut events = audit::list(app.registry.store.readers(), filter, limit + 1)
        .await
        .map_err(crate::operations::Error::from)?;
    let more = events.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        events.pop();
    }
    let next_cursor = events.last().filter(|_| more).map(|last| last.number.to_string());
    let events: Vec<_> = events.iter().map(wire).collect();
    Ok(Json(json!({"events": events, "next_cursor": next_cursor})))
}

fn wire(stored: &StoredEvent) -> Value {
    let event = &stored.event;
    json!({
        "id": event.id,
        "at": event.at.to_rfc3339_millis(),
        "actor": {"kind": event.actor_kind, "id": event.actor_id},
        "action": event.action,
        "target": {"kind": event.target_kind, "id": event.target_id},
        "customer_id": event.account,
        "before": json_of(event.before.as_deref()),
        "after": json_of(event.after.as_deref()),
        "request_id": event.request_id,
        "address": event.address,
        "hash": stored.hash,
    })
}

fn json_of(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
