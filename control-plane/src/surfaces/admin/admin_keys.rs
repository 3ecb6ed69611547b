//! `/admin/admin-keys`: operators' own keys, for owners alone.

pub mod create;
pub mod list;
pub mod revoke;

use keyward_contract::UnixMillis;
use serde_json::{Value, json};

use crate::domain::admin::AdminKey;

/// How the admin API writes an admin key.
fn wire(key: &AdminKey) -> Value {
    json!({
        "admin_key_id": key.id,
        "name": key.name,
        "role": key.role.as_str(),
        "status": if key.is_live() { "active" } else { "revoked" },
        "created_at": key.created_at.to_rfc3339_seconds(),
        "last_used_at": key.last_used_at.map(UnixMillis::to_rfc3339_seconds),
    })
}
