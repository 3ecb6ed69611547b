//! `POST /admin/customers/{customer_id}/api-keys/{api_key_id}/rotate`

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, AccountStatus, KeyId};

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

/// Replaces an account key by a new one, which is shown in this answer and never again.
///
/// # Errors
/// When the key isn't there or is dead, its account isn't active, or the grace is out of range.
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
    let mut body = wire::key(&value.key, AccountStatus::Active, None, value.key.created_at);
    if let Some(body) = body.as_object_mut() {
        body.insert("api_key".into(), value.plain.expose().into());
        body.insert("revoked_api_key_id".into(), value.old.to_string().into());
        body.insert("revokes_at".into(), value.old_dies_at.to_rfc3339_seconds().into());
    }
    Ok(settled::with(&rotated.settled, axum::Json(body)))
}
