//! `/admin/gateways`: how gateways stand, who may be one, and what each is sent.

pub mod confirm_snapshot;
pub mod list;
pub mod show;
pub mod tokens;
pub mod update;

use keyward_contract::{AccountId, Environment, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::gateway::{GatewayId, GatewaySettings};
use crate::operations::gateways::GatewayView;
use crate::sync::GatewayStatus;

/// What a gateway is sent, when that is not everything.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScopeShown {
    /// These customers alone; null: all.
    #[schema(value_type = Option<Vec<String>>, required = true)]
    accounts: Option<Vec<AccountId>>,
    /// Keys of this environment alone; null: of both.
    #[schema(value_type = Option<String>, pattern = "^(test|production)$", required = true)]
    environment: Option<Environment>,
}

impl ScopeShown {
    fn of(settings: &GatewaySettings) -> Option<Self> {
        let is_everything = settings.accounts.is_none() && settings.environment.is_none();
        (!is_everything).then(|| Self {
            accounts: settings
                .accounts
                .as_ref()
                .map(|ids| ids.iter().copied().collect()),
            environment: settings.environment,
        })
    }
}

/// How a gateway stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusShown {
    /// Where its proxy listener is.
    address: String,
    version: String,
    /// The revision in force there.
    revision: u64,
    /// For how long it has not been at the newest revision.
    lag_seconds: f64,
    #[schema(format = DateTime)]
    last_heartbeat: String,
    #[schema(pattern = "^(connected|holding|syncing|disconnected|stopped)$")]
    state: &'static str,
    /// A snapshot that waits for confirmation.
    #[schema(required = true)]
    held_snapshot: Option<HeldSnapshotShown>,
}

/// A snapshot that would drop more than half of a gateway's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeldSnapshotShown {
    revision: u64,
    /// Keys in force at the gateway.
    held_keys: u64,
    /// Those of them that the snapshot has not.
    dropped_keys: u64,
}

impl From<GatewayStatus> for StatusShown {
    fn from(status: GatewayStatus) -> Self {
        Self {
            address: status.address,
            version: status.version,
            revision: status.revision,
            lag_seconds: status.lag_seconds,
            last_heartbeat: status.last_heartbeat.to_rfc3339_millis(),
            state: status.state,
            held_snapshot: status.held.map(|held| HeldSnapshotShown {
                revision: held.revision,
                held_keys: held.held,
                dropped_keys: held.dropped,
            }),
        }
    }
}

/// A gateway: what operators say of it, and how it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "gateway_id": "edge-1", "blocked": false, "scope": {"accounts": null, "environment": "test"},
    "updated_at": "2026-01-19T10:30:00Z",
    "status": {
        "address": "203.0.113.7:8080", "version": "0.1.0", "revision": 42, "lag_seconds": 0.0,
        "last_heartbeat": "2026-01-19T10:30:00.000Z", "state": "connected", "held_snapshot": null,
    },
}))]
pub struct GatewayDetail {
    gateway_id: String,
    /// It is not let in.
    blocked: bool,
    /// What it is sent; null: everything.
    #[schema(required = true)]
    scope: Option<ScopeShown>,
    /// When operators last changed this; null: never.
    #[schema(format = DateTime, required = true)]
    updated_at: Option<String>,
    /// Null when it was not seen in the last day.
    #[schema(required = true)]
    status: Option<StatusShown>,
}

impl GatewayDetail {
    fn new(id: &GatewayId, view: GatewayView) -> Self {
        Self {
            gateway_id: id.to_string(),
            blocked: view.settings.blocked,
            scope: ScopeShown::of(&view.settings),
            updated_at: view.settings.updated_at.map(UnixMillis::to_rfc3339_seconds),
            status: view.status.map(StatusShown::from),
        }
    }
}
