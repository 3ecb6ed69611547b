//! `POST /admin/customers/{customer_id}/api-keys/{api_key_id}/rotate`

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, AccountStatus, KeyId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::account_keys;
use crate::operations::identify::AdminCaller;
use crate::surfaces::admin::wire;
use crate::surfaces::body::MaybeJson;
use crate::surfaces::params::Ids;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

const MAX_GRACE_SECONDS: u64 = 604_800;

/// How a key is to be replaced. The body may be left out.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"grace_seconds": 3_600}))]
pub struct Rotation {
    /// How long the old key works beside the new one; 0 when left out.
    #[schema(minimum = 0, maximum = 604_800, nullable = false)]
    pub grace_seconds: Option<u64>,
}

/// A key that replaces another, in clear this once.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d81", "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "name": "ci", "environment": "production", "status": "active", "mask": "pk_live_4f…2C3",
    "allowed_ips": null, "created_at": "2026-01-19T10:30:00Z", "expires_at": null, "revoked_at": null,
    "last_used_at": null, "api_key": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
    "revoked_api_key_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f", "revokes_at": "2026-01-19T11:30:00Z",
}))]
pub struct KeyRotated<'a> {
    #[serde(flatten)]
    key: wire::Key,
    #[schema(pattern = "^pk_(live|test)_[0-9A-Za-z]{38}$")]
    api_key: &'a str,
    /// The key that was replaced.
    #[schema(value_type = String, format = "uuid")]
    revoked_api_key_id: KeyId,
    /// When it dies.
    #[schema(format = DateTime)]
    revokes_at: String,
}

/// Replaces an account key by a new one, which is shown in this answer and never again.
///
/// # Errors
/// When the key isn't there or is dead, its account isn't active, or the grace is out of range.
#[utoipa::path(
    post,
    path = "/admin/customers/{customer_id}/api-keys/{api_key_id}/rotate",
    operation_id = "rotateKey",
    tag = "keys",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ("api_key_id" = String, Path, format = "uuid", description = "The key's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f"),
    ),
    request_body = Option<Rotation>,
    responses(
        (status = 200, description = "The new key. Save it: it is not shown again.", body = KeyRotated),
        (status = 409, description = "The key is dead or in its grace, or the account isn't active."),
    ),
)]
pub async fn rotate(
    State(app): State<App>,
    caller: AdminCaller,
    Ids(account, id): Ids<AccountId, KeyId>,
    MaybeJson(fields): MaybeJson,
) -> Result<Response, Problem> {
    let grace = fields
        .whole_number("grace_seconds")?
        .not_null("grace_seconds")?
        .unwrap_or(0);
    if grace > MAX_GRACE_SECONDS {
        return Err(InvalidField::new("grace_seconds", "must be a whole number from 0 to 604800").into());
    }
    let grace = Duration::from_secs(grace);
    let rotated = account_keys::rotate(&app.registry, &caller.actor, (account, id), grace).await?;
    let value = &rotated.value;
    let body = KeyRotated {
        key: wire::key(&value.key, AccountStatus::Active, None, value.key.created_at),
        api_key: value.plain.expose(),
        revoked_api_key_id: value.old,
        revokes_at: value.old_dies_at.to_rfc3339_seconds(),
    };
    Ok(settled::with(&rotated.settled, axum::Json(body)))
}
