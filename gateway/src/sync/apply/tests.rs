//! What is told when the disk fails.

use std::cell::RefCell;

use keyward_contract::Record;
use keyward_contract::feed::{self, Change, control_frame::Frame, gateway_frame};
use tokio::sync::mpsc;

use super::{Applier, Event, Ground};
use crate::keys::{Loss, Position, RefusedRecord};
use crate::sync::SyncError;

/// A ground on which changes are put in force and what is acknowledged can't be noted.
#[derive(Default)]
struct Forgetful {
    said: RefCell<Vec<gateway_frame::Frame>>,
}

const NO_SNAPSHOT: SyncError = SyncError::Protocol("no snapshot comes here");

impl Ground for Forgetful {
    type Snapshot = ();

    fn source(&self) -> (&str, &str) {
        ("epoch", "")
    }

    fn position(&self) -> Position {
        Position::new("epoch", 6)
    }

    async fn apply(&self, _: Vec<Change>) -> Result<Vec<RefusedRecord>, SyncError> {
        Ok(Vec::new())
    }

    async fn restrict(&self, _: Vec<Record>) -> Result<(), SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn begin(&self, _: Position) -> Result<(), SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn add(&self, (): (), _: Vec<feed::Record>) -> Result<((), Vec<RefusedRecord>), SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn complete(&self, (): ()) -> Result<((), Vec<RefusedRecord>), SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn loss(&self, (): ()) -> Result<((), Option<Loss>), SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn take_away(&self, (): ()) -> Result<usize, SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn finish(&self, (): ()) -> Result<(), SyncError> {
        Err(NO_SNAPSHOT)
    }

    async fn acknowledging(&self) -> Result<(), SyncError> {
        Err(SyncError::Task)
    }

    async fn passed(&self) {}

    async fn send(&self, frame: gateway_frame::Frame) -> Result<(), SyncError> {
        self.said.borrow_mut().push(frame);
        Ok(())
    }

    fn note(&self, _: Event) {}
}

#[tokio::test]
async fn what_can_not_be_noted_as_acknowledged_is_not_acknowledged() {
    let (frames, coming) = mpsc::channel(1);
    let change = Change {
        revision: 7,
        ..Change::default()
    };
    frames.send(Frame::Change(change)).await.unwrap();
    drop(frames);
    let ground = Forgetful::default();
    let ended = Applier::new(&ground).run(coming).await;
    assert!(matches!(ended, Err(SyncError::Task)), "{ended:?}");
    assert_eq!(ground.said.take(), []);
}
