//! Confirming a snapshot that a gateway holds, because it would drop more than half of its keys.

use serde_json::json;

use super::change::{Actor, Change, Changed, Entry};
use super::{Registry, Result};
use crate::domain::refusal::{Conflict, Missing};
use crate::store::gateways;
use crate::sync::{Confirming, HeldSnapshot};

/// Has the gateway put the snapshot of this revision in force, on whichever control plane it is.
///
/// # Errors
/// When there is no such gateway, it doesn't hold this snapshot, or the database fails.
pub async fn confirm(
    registry: &Registry,
    actor: &Actor,
    gateway_id: &str,
    revision: u64,
) -> Result<Changed<HeldSnapshot>> {
    let held = match registry.gateways.confirming(gateway_id, revision).await {
        Confirming::Held(held) => held,
        Confirming::Other(held) => return Err(Conflict::OtherSnapshot(held.revision).into()),
        Confirming::Nothing => return Err(Conflict::NoSnapshotHeld.into()),
        Confirming::Unknown => return Err(Missing::Gateway.into()),
    };
    let mut change = Change::begin(registry, actor).await?;
    let control_plane = registry.gateways.control_plane();
    gateways::confirm(
        &registry.store,
        &mut change.tx,
        gateway_id,
        revision,
        control_plane,
    )
    .await?;
    let entry = Entry {
        action: "snapshot.confirmed",
        target: ("gateway", gateway_id.to_owned()),
        account: None,
        before: Some(json!({"held_keys": held.held})),
        after: Some(json!({"revision": revision, "dropped_keys": held.dropped})),
    };
    let settled = change.commit(entry, &[]).await?;
    registry.gateways.confirmed(gateway_id, revision);
    Ok(Changed { value: held, settled })
}
