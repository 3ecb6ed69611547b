//! Operators' keys, as owners manage them.

use keyward_contract::{Environment, KeyId, KeyKind, PlainKey};
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::admin::{AdminKey, Role};
use crate::domain::refusal::{Conflict, Missing};
use crate::domain::text::Name;
use crate::store::admin_keys;

/// Makes an admin key. Its text is in the answer and nowhere else.
///
/// # Errors
/// When the database fails.
pub async fn create(
    registry: &Registry,
    actor: &Actor,
    name: Name,
    role: Role,
) -> Result<Changed<(AdminKey, PlainKey)>> {
    let mut change = Change::begin(registry, actor).await?;
    let (key, plain) = create_within(registry, &mut change, name, role).await?;
    let entry = Entry {
        action: "admin_key.created",
        target: ("admin_key", key.id.to_string()),
        account: None,
        before: None,
        after: Some(json!({"name": key.name, "role": role.as_str(), "mask": key.mask})),
    };
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed {
        value: (key, plain),
        settled,
    })
}

/// Makes an admin key inside a change.
pub(super) async fn create_within(
    registry: &Registry,
    change: &mut Change<'_>,
    name: Name,
    role: Role,
) -> Result<(AdminKey, PlainKey)> {
    let minted = registry.mint(KeyKind::Admin, Environment::Production)?;
    let key = AdminKey {
        id: KeyId::new(),
        name,
        role,
        mask: minted.plain.mask(),
        digest: minted.digest,
        created_at: change.now,
        revoked_at: None,
        last_used_at: None,
    };
    admin_keys::insert(&mut change.tx, &key).await?;
    Ok((key, minted.plain))
}

/// Every admin key, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(registry: &Registry) -> Result<Vec<AdminKey>> {
    Ok(admin_keys::list(registry.store.readers()).await?)
}

/// Revokes an admin key; a repeat changes nothing.
///
/// # Errors
/// When there is none with this id, it is the last owner's, or the database fails.
pub async fn revoke(registry: &Registry, actor: &Actor, id: KeyId) -> Result<Changed<AdminKey>> {
    let mut change = Change::begin(registry, actor).await?;
    let mut key = admin_keys::load(&mut change.tx, id)
        .await?
        .ok_or(Missing::AdminKey)?;
    if !key.is_live() {
        let settled = change.nothing_to_do().await?;
        return Ok(Changed { value: key, settled });
    }
    if key.role == Role::Owner && admin_keys::live_owners(&mut change.tx).await? <= 1 {
        return Err(Conflict::LastOwner.into());
    }
    let now = change.now;
    admin_keys::revoke(&mut change.tx, id, now).await?;
    key.revoked_at = Some(now);
    let entry = Entry {
        action: "admin_key.revoked",
        target: ("admin_key", id.to_string()),
        account: None,
        before: Some(json!({"status": "active"})),
        after: Some(json!({"status": "revoked"})),
    };
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed { value: key, settled })
}
