//! A snapshot that would drop more than half of the keys waits until an operator confirms it.
//!
//! It may be what a broken or empty database says. So what is held stays in force, but for what the snapshot takes
//! away: a key that is dead there is dead here, and so for every change after it. None of it is acknowledged and the
//! position stays, so that changes are told as not in force here and the next stream begins where this one did. A
//! snapshot of another scope is meant to be another, and one that was confirmed is put in force.

use keyward_contract::Record;
use keyward_contract::feed::{Change, SnapshotBegin, SnapshotHeld, gateway_frame};

use super::{Applier, Event, Ground, SyncError};
use crate::keys::RefusedRecord;
use crate::sync::HeldSnapshot;

/// Below so many keys a snapshot may drop as many as it likes.
const FEW_KEYS: u64 = 100;

impl<G: Ground> Applier<'_, G> {
    /// The snapshot, unless it waits for confirmation.
    pub(super) async fn unless_held(
        &mut self,
        writer: G::Snapshot,
        begin: &SnapshotBegin,
    ) -> Result<Option<G::Snapshot>, SyncError> {
        let position = self.ground.position();
        let is_another_scope = position.scope != self.ground.source().1;
        if begin.confirmed || is_another_scope {
            return Ok(Some(writer));
        }
        let (writer, loss) = self.ground.loss(writer).await?;
        let Some(loss) = loss.filter(|loss| loss.held >= FEW_KEYS) else {
            return Ok(Some(writer));
        };
        let restricted = self.ground.take_away(writer).await?;
        let held = HeldSnapshot {
            revision: begin.revision,
            keys: loss.held,
            dropped: loss.dropped,
        };
        tracing::error!(
            revision = held.revision,
            held = held.keys,
            dropped = held.dropped,
            restricted,
            "a snapshot would drop more than half of the keys: it is not put in force, but for the rights that it takes \
             away. If it is right, confirm it: POST /admin/gateways/{{gateway_id}}/confirm-snapshot with this revision"
        );
        self.hold(held).await.map(|()| None)
    }

    async fn hold(&mut self, held: HeldSnapshot) -> Result<(), SyncError> {
        self.restricted = Some(held.revision);
        self.ground.note(Event::Holding(held));
        let told = SnapshotHeld {
            revision: held.revision,
            held: held.keys,
            dropped: held.dropped,
        };
        self.ground.send(gateway_frame::Frame::SnapshotHeld(told)).await?;
        self.prove_freshness();
        Ok(())
    }

    /// Takes away what these changes take away; `last` is the newest of them.
    pub(super) async fn restrict(&mut self, changes: Vec<Change>, last: u64) -> Result<(), SyncError> {
        let (mut records, mut refused) = (Vec::new(), Vec::new());
        for Change {
            revision,
            records: wire,
            ..
        } in changes
        {
            for record in wire {
                match Record::try_from(record) {
                    Ok(record) => records.push(record),
                    Err(error) => refused.push(RefusedRecord { revision, error }),
                }
            }
        }
        self.ground.restrict(records).await?;
        self.restricted = Some(last);
        self.refuse(&refused).await?;
        self.prove_freshness();
        Ok(())
    }
}
