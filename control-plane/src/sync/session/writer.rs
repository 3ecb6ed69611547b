//! What goes to a gateway: the Welcome, a snapshot where it is needed, then changes as they are committed, and
//! between them heartbeats, acknowledgements of usage and what accounts have spent.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keyward_contract::feed::{ControlHeartbeat, UsageAcknowledged, Welcome, control_frame::Frame};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Status;

use super::Session;
use crate::store::changes::{Place, named};
use crate::sync::feed::{Entry, Next};
use crate::sync::frames::{Gone, Outgoing};
use crate::sync::quota::Seen;
use crate::sync::snapshot::{NoSnapshot, Piece, Snapshot};

const HEARTBEAT: Duration = Duration::from_secs(1);
/// An account's number goes out at most this often, and no later than this after it was moved.
const QUOTA_PACE: Duration = Duration::from_millis(250);
/// A gateway that takes no frame for so long is dropped.
const STALLED: Duration = Duration::from_secs(10);
/// Few snapshots are sent at once: one that its gateway takes for longer than this makes room for others.
const SLOWEST_SNAPSHOT: Duration = Duration::from_secs(300);
/// As many accounts' numbers go out at once.
const ACCOUNTS_AT_ONCE: usize = 5_000;

pub(super) struct Writer<'s> {
    session: &'s Session,
    head: watch::Receiver<u64>,
    /// Up to when heartbeats may be echoed, where that depends on other control planes.
    recorded: Option<watch::Receiver<Instant>>,
    tick: Interval,
    acknowledgements: mpsc::Receiver<u64>,
    quota: QuotaTold,
    /// The gateway holds a snapshot that was confirmed since.
    is_confirmed: bool,
}

/// What this stream was told of quotas.
struct QuotaTold {
    /// The newest change in the book.
    newest: watch::Receiver<u64>,
    /// How far it was told.
    seen: Seen,
    at: Option<Instant>,
}

impl QuotaTold {
    /// Waits until there is something to tell, and until it may be told.
    async fn due(&mut self) {
        while *self.newest.borrow_and_update() <= self.seen.looked() {
            if self.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        if let Some(at) = self.at {
            tokio::time::sleep_until((at + QUOTA_PACE).into()).await;
        }
    }
}

/// Why the writer woke.
enum Due {
    Changes,
    Heartbeat,
    UsageAcknowledged(u64),
    Quotas,
    Confirmed,
}

impl<'s> Writer<'s> {
    pub(super) fn new(session: &'s Session, acknowledgements: mpsc::Receiver<u64>) -> Self {
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            session,
            head: session.service.feed.head(),
            recorded: session.service.gateways.recorded(),
            tick,
            acknowledgements,
            quota: QuotaTold {
                newest: session.service.book.newest(),
                seen: Seen::default(),
                at: None,
            },
            is_confirmed: false,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), Status> {
        let mut place = self.session.begins_at;
        self.welcome().await?;
        if place.revision == 0 {
            place = self.snapshot(0).await?;
        }
        loop {
            if self.is_confirmed {
                place = self.snapshot(place.revision).await?;
            }
            self.head.borrow_and_update();
            let next = self.session.service.feed.after(place).await;
            let next = next.map_err(|_| Status::unavailable("the change log can't be read"))?;
            if self.session.epoch.is_over() {
                // What was read may be of another log. The session is about to end.
                return std::future::pending().await;
            }
            match next {
                Next::Changes(changes) => {
                    place = self.changes(place, changes).await?;
                    // More may have come; what else is due must not wait for all of it.
                    while let Some(due) = self.due_now() {
                        self.serve(due).await?;
                    }
                }
                // One that is no later than what is held would lead here again.
                Next::Snapshot => place = self.snapshot(place.revision.saturating_add(1)).await?,
                Next::Nothing => {
                    let due = self.due().await;
                    self.serve(due).await?;
                }
            }
        }
    }

    /// Sends changes; answers where the gateway is then.
    async fn changes(&mut self, mut place: Place, changes: Vec<Entry>) -> Result<Place, Status> {
        for change in changes {
            let Some(message) = change.cut(&self.session.admitted.scope) else {
                return self.snapshot(change.place.revision).await;
            };
            place = change.place;
            self.send_log(message, place.revision).await?;
        }
        Ok(place)
    }

    async fn welcome(&self) -> Result<(), Status> {
        let service = &self.session.service;
        let digest_key = match self.session.wants_digest_key {
            true => service.digest_key.expose().to_vec(),
            false => Vec::new(),
        };
        let revision = *self.head.borrow();
        self.send(Frame::Welcome(Welcome {
            protocol: self.session.protocol,
            feed_epoch: self.session.epoch.name().to_owned(),
            revision,
            digest_key,
            live_gateways: service.gateways.live(),
            scope: self.session.admitted.scope.name(),
        }))
        .await
    }

    /// Sends a whole snapshot of this revision or a later one, with heartbeats between its pieces; answers where it
    /// stands.
    async fn snapshot(&mut self, least: u64) -> Result<Place, Status> {
        metrics::counter!("keyward_sync_snapshots_total").increment(1);
        let head = *self.head.borrow();
        let snapshots = &self.session.service.snapshots;
        let mut snapshot: Snapshot = snapshots.begin(&self.session.admitted.scope, least, head);
        let (mut begun, mut history) = (None, None);
        loop {
            let piece = tokio::select! {
                piece = snapshot.next() => piece.unwrap_or(Err(NoSnapshot::Broken("its task has ended"))),
                due = self.due() => {
                    self.serve(due).await?;
                    continue;
                }
            };
            // Waiting for its turn is not its gateway's fault.
            let begun = *begun.get_or_insert_with(Instant::now);
            if begun.elapsed() > SLOWEST_SNAPSHOT {
                return Err(Status::resource_exhausted(
                    "the gateway took a snapshot for over 300 s",
                ));
            }
            match piece {
                Ok(Piece::Begin(mut begin)) => {
                    history = named(Some(&begin.history));
                    begin.confirmed = std::mem::take(&mut self.is_confirmed);
                    self.send(Frame::SnapshotBegin(begin)).await?;
                }
                Ok(Piece::Records(records)) => self.hand_over(records).await?,
                Ok(Piece::End(end)) => {
                    self.send_log(Frame::SnapshotEnd(end).into(), end.revision)
                        .await?;
                    return Ok(Place {
                        revision: end.revision,
                        history,
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "a snapshot can't be sent");
                    return Err(Status::unavailable("the snapshot can't be read"));
                }
            }
        }
    }

    async fn due(&mut self) -> Due {
        let session: &Session = self.session;
        let shared = &session.shared;
        loop {
            tokio::select! {
                // A gateway's heartbeat is answered at once: the fresher the echo, the tighter its bound.
                () = shared.heartbeat.notified() => {
                    self.tick.reset();
                    return Due::Heartbeat;
                }
                until = newly_recorded(&mut self.recorded) => {
                    if shared.echo.lock().recorded(until) {
                        return Due::Heartbeat;
                    }
                }
                _ = self.tick.tick() => return Due::Heartbeat,
                Some(sequence) = self.acknowledgements.recv() => return Due::UsageAcknowledged(sequence),
                () = self.quota.due() => return Due::Quotas,
                () = session.membership.ends().confirmed.notified() => return Due::Confirmed,
                _ = self.head.changed() => return Due::Changes,
            }
        }
    }

    /// What is due already, but for changes.
    fn due_now(&mut self) -> Option<Due> {
        use futures_util::FutureExt;
        match self.due().now_or_never() {
            None | Some(Due::Changes) => None,
            due => due,
        }
    }

    async fn serve(&mut self, due: Due) -> Result<(), Status> {
        match due {
            Due::Changes => Ok(()),
            Due::Confirmed => {
                self.is_confirmed = true;
                Ok(())
            }
            Due::UsageAcknowledged(sequence) => {
                self.send(Frame::UsageAcknowledged(UsageAcknowledged { sequence }))
                    .await
            }
            Due::Heartbeat => self.heartbeat().await,
            Due::Quotas => self.tell_quotas().await,
        }
    }

    async fn heartbeat(&self) -> Result<(), Status> {
        let gateways = &self.session.service.gateways;
        // Read before the head: what was committed until the echoed heartbeat came is at or below it.
        let echo_ms = self.session.echo();
        let (announced, read) = (*gateways.head().borrow(), *self.head.borrow());
        self.send(Frame::Heartbeat(ControlHeartbeat {
            revision: announced.max(read),
            live_gateways: gateways.live(),
            sent_at_ms: crate::sync::now().0,
            echo_ms,
        }))
        .await
    }

    async fn tell_quotas(&mut self) -> Result<(), Status> {
        let Session {
            service,
            boot,
            admitted,
            ..
        } = self.session;
        self.quota.at = Some(Instant::now());
        let (changed, seen) = service.book.changed(boot, self.quota.seen, ACCOUNTS_AT_ONCE);
        self.quota.seen = seen;
        for usage in changed {
            if !admitted.scope.keeps_account(&usage.account_id) {
                continue;
            }
            self.send(Frame::QuotaUsage(usage)).await?;
        }
        Ok(())
    }

    /// Sends a frame after which the gateway may acknowledge up to `revision`.
    async fn send_log(&self, message: Outgoing, revision: u64) -> Result<(), Status> {
        self.session.shared.sent.store(revision, Ordering::Release);
        self.hand_over(message).await
    }

    async fn send(&self, frame: Frame) -> Result<(), Status> {
        self.hand_over(frame.into()).await
    }

    async fn hand_over(&self, message: Outgoing) -> Result<(), Status> {
        match tokio::time::timeout(STALLED, self.session.out.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Gone)) => Err(Status::cancelled("the gateway is gone")),
            Err(_) => Err(Status::resource_exhausted("the gateway took no frame for 10 s")),
        }
    }
}

/// Never, where nothing is recorded.
async fn newly_recorded(recorded: &mut Option<watch::Receiver<Instant>>) -> Instant {
    if let Some(recorded) = recorded
        && recorded.changed().await.is_ok()
    {
        return *recorded.borrow_and_update();
    }
    std::future::pending().await
}
