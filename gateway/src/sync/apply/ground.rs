//! What changes are put in force on, and whom it is told.

use keyward_contract::Record;
use keyward_contract::feed::{Change, Record as Wire, gateway_frame};

use crate::keys::{Loss, Position, RefusedRecord};
use crate::sync::{HeldSnapshot, SyncError};

/// The key set, the workers and the stream, as the applier meets them.
#[expect(
    async_fn_in_trait,
    reason = "polled where it is made; nothing asks for `Send`"
)]
pub trait Ground {
    /// A snapshot that is coming in; dropped before its end, it leaves everything as it was.
    type Snapshot;

    /// The history that the stream's revisions belong to, and the scope under which it is sent.
    fn source(&self) -> (&str, &str);
    /// Up to where the key set follows the log.
    fn position(&self) -> Position;
    /// Resolves when the next changes may be written: at once, unless some were a moment ago.
    async fn rested(&self) {}
    /// Puts changes on disk and in force.
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<RefusedRecord>, SyncError>;
    /// Puts in force what these records take away; the position stays.
    async fn restrict(&self, records: Vec<Record>) -> Result<(), SyncError>;
    /// Begins a snapshot at this position.
    async fn begin(&self, position: Position) -> Result<Self::Snapshot, SyncError>;
    /// Adds records to it.
    async fn add(
        &self,
        snapshot: Self::Snapshot,
        records: Vec<Wire>,
    ) -> Result<(Self::Snapshot, Vec<RefusedRecord>), SyncError>;
    /// All of its records have come.
    async fn complete(
        &self,
        snapshot: Self::Snapshot,
    ) -> Result<(Self::Snapshot, Vec<RefusedRecord>), SyncError>;
    /// What it would drop, when that is more than half of what is held.
    async fn loss(&self, snapshot: Self::Snapshot) -> Result<(Self::Snapshot, Option<Loss>), SyncError>;
    /// Puts in force only what it takes away; answers of how many records.
    async fn take_away(&self, snapshot: Self::Snapshot) -> Result<usize, SyncError>;
    /// Puts it in force.
    async fn finish(&self, snapshot: Self::Snapshot) -> Result<(), SyncError>;
    /// What is in force is about to be acknowledged: noted, so that nothing older is served from after a restart.
    async fn acknowledging(&self) -> Result<(), SyncError> {
        Ok(())
    }
    /// Resolves when no worker acts any more on what was before.
    async fn passed(&self);
    /// Tells the control plane.
    async fn send(&self, frame: gateway_frame::Frame) -> Result<(), SyncError>;
    /// What is to be noted.
    fn note(&self, event: Event);
}

/// What the rest of the gateway is to know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many changes are in force.
    Changes(u64),
    /// So many records were refused.
    Refused(u64),
    /// A snapshot has begun.
    SnapshotBegun,
    /// A snapshot is in force.
    SnapshotInForce,
    /// A snapshot waits for confirmation.
    Holding(HeldSnapshot),
    /// What the control plane said of itself.
    Told {
        /// The newest revision it knows.
        head: u64,
        /// How many gateways are live.
        live_gateways: u32,
    },
    /// Whatever had lost rights when we sent the heartbeat with this steady clock has lost them here.
    Fresh {
        /// Milliseconds on our own steady clock.
        steady_ms: u64,
        /// Nothing else of it is in force: a snapshot waits for confirmation.
        is_holding: bool,
    },
}
