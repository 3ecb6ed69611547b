//! The link to the control plane: key changes come in, usage goes out.
//!
//! [`Follower`] holds one stream at a time and resumes where the key set stands. A change is acknowledged
//! only after it is on disk, in force, and every worker has finished what it had decided before. Whatever goes
//! wrong ends the stream and nothing else: calls go on with what is known, and the next address is tried after
//! a jittered pause. Nothing that comes from the stream can panic here.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use keyward_config::Staleness;
use keyward_contract::UnixMillis;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::keys::{KeySet, ReplicaError};
use crate::ledger::Ledger;
use crate::server::Quiescence;

pub mod apply;
mod backoff;
mod connect;
mod credentials;
mod dial;
mod ground;
mod quota;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

pub use backoff::Backoff;
pub use credentials::LinkCredentials;
pub use state::{HeldSnapshot, STATES, SyncState, SyncStatus};

/// A stream that held for so long was no failure to connect.
const STEADY: Duration = Duration::from_secs(10);
/// How long the last usage may take when the gateway stops.
const LAST_USAGE: Duration = Duration::from_secs(3);
const LOOK_AT_FILES_EVERY: Duration = Duration::from_secs(1);
const CLOSE_HOURS_EVERY: Duration = Duration::from_secs(60);

/// Where the control plane is, and who we are to it.
#[derive(Clone, Debug)]
pub struct SyncLink {
    /// Tried in turn.
    pub urls: Vec<String>,
    /// What we show there, and whom we take for it.
    pub credentials: Arc<LinkCredentials>,
    /// The name that its certificate must have, where that is not the host of its address.
    pub server_name: Option<String>,
    /// Our id: no two live gateways have the same.
    pub gateway_id: String,
    /// The ledger's.
    pub boot_epoch: u64,
    /// Where the proxy listener is, for people.
    pub address: String,
    /// What the control plane may count on when it can't reach us.
    pub staleness: Staleness,
}

/// Why a stream ended or never began.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// No address that can be connected to.
    #[error("`{0}` is no usable address")]
    Address(String),
    /// The connection was not made.
    #[error("can't connect: {0}")]
    Connect(String),
    /// What TLS says.
    #[error("{0}")]
    Tls(keyward_tls::Refused),
    /// The control plane doesn't know what we show.
    #[error("the control plane does not take our credential: {0}")]
    Credential(String),
    /// The control plane knows us, and doesn't let us in.
    #[error("the control plane does not let this gateway in: {0}")]
    NotLetIn(String),
    /// The control plane said so.
    // The details of a status may be long and hold bytes; its code and message say enough.
    #[error("the control plane ended the stream: {:?}: {}", .0.code(), .0.message())]
    Status(tonic::Status),
    /// The control plane closed it.
    #[error("the control plane closed the stream")]
    Closed,
    /// Nothing came for so long.
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    /// Nothing was taken for so long.
    #[error("the control plane takes nothing for {0:?}")]
    Stalled(Duration),
    /// What came can't be right.
    #[error("against the protocol: {0}")]
    Protocol(&'static str),
    /// The disk failed.
    #[error("the replica: {0}")]
    Replica(#[from] ReplicaError),
    /// Work on the disk ended in a panic.
    #[error("a task of the replica failed")]
    Task,
}

impl From<tonic::Status> for SyncError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unauthenticated => Self::Credential(status.message().to_owned()),
            tonic::Code::PermissionDenied => Self::NotLetIn(status.message().to_owned()),
            _ => Self::Status(status),
        }
    }
}

/// Whether the control plane is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rein {
    /// It is, by this process.
    Follow,
    /// It is let go.
    Let,
}

/// What is wanted of a follower, and what holds.
#[derive(Debug)]
pub struct Reins {
    wanted: watch::Sender<Rein>,
    held: watch::Sender<Rein>,
}

impl Reins {
    /// Begins so.
    #[must_use]
    pub fn new(first: Rein) -> Self {
        Self {
            wanted: watch::Sender::new(first),
            held: watch::Sender::new(Rein::Follow),
        }
    }

    /// From now on this is wanted.
    pub fn want(&self, rein: Rein) {
        self.wanted.send_replace(rein);
    }

    /// Resolves when this holds.
    pub async fn holds(&self, rein: Rein) {
        // The sender is here.
        let _ = self.held.subscribe().wait_for(|held| *held == rein).await;
    }
}

/// Follows the control plane until it is told to stop.
#[derive(Debug)]
pub struct Follower {
    link: SyncLink,
    keys: Arc<KeySet>,
    quiescence: Quiescence,
    ledger: Arc<Ledger>,
    state: Arc<SyncState>,
    /// Held by work on the replica. Once begun it goes on, whatever becomes of the stream that wanted it.
    on_disk: Arc<tokio::sync::Mutex<()>>,
    /// Something was put in force, and workers may act on what was before it.
    is_unsettled: AtomicBool,
}

impl Follower {
    /// Of this key set and ledger; connects to nothing yet.
    #[must_use]
    pub fn new(
        link: SyncLink,
        keys: Arc<KeySet>,
        quiescence: Quiescence,
        ledger: Arc<Ledger>,
        state: Arc<SyncState>,
    ) -> Self {
        Self {
            link,
            keys,
            quiescence,
            ledger,
            state,
            on_disk: Arc::default(),
            is_unsettled: AtomicBool::new(false),
        }
    }

    /// Follows until `stop`; then reports the last usage, says goodbye, and returns within a few seconds.
    pub async fn run(self, stop: CancellationToken) {
        self.run_once(&stop).await;
    }

    /// [`Self::run`], and while `reins` say so it lets the control plane go, without a goodbye: another process follows.
    pub async fn run_on(&self, reins: &Reins, stop: &CancellationToken) {
        let mut wanted = reins.wanted.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = wanted.wait_for(|wanted| *wanted == Rein::Let) => {}
                () = self.run_once(stop) => return,
            }
            // What was begun on the disk ends, and nobody acts any more on what was before it.
            self.settle().await;
            self.state.disconnected();
            self.ledger.withdrawn();
            reins.held.send_replace(Rein::Let);
            tokio::select! {
                () = stop.cancelled() => return,
                _ = wanted.wait_for(|wanted| *wanted == Rein::Follow) => {}
            }
            reins.held.send_replace(Rein::Follow);
        }
    }

    async fn run_once(&self, stop: &CancellationToken) {
        tokio::select! {
            () = self.follow(stop) => {}
            () = self.close_hours() => {}
            () = self.follow_files() => {}
        }
    }

    async fn follow(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        for url in self.link.urls.iter().cycle() {
            let began = Instant::now();
            let ended = self.stream(url, stop).await;
            self.state.disconnected();
            // What was under way may be lost: it is reported again.
            self.ledger.withdrawn();
            match ended {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(url, %error, "the link to the control plane is down");
                    self.state.failed(url, &error.to_string());
                }
            }
            if began.elapsed() >= STEADY {
                backoff = Backoff::after_loss(self.link.urls.len());
            }
            tokio::select! {
                () = stop.cancelled() => return self.last_try(stop).await,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
        stop.cancelled().await;
    }

    /// Told to stop while the link was down: usage that is only here is worth one more round of addresses.
    async fn last_try(&self, stop: &CancellationToken) {
        let flush = async {
            for url in &self.link.urls {
                if self.ledger.pending() == 0 || self.stream(url, stop).await.is_ok() {
                    return;
                }
                self.ledger.withdrawn();
            }
        };
        let _ = tokio::time::timeout(LAST_USAGE, flush).await;
        self.state.disconnected();
        let pending = self.ledger.pending();
        if pending > 0 {
            tracing::warn!(
                pending,
                "stopping with usage that the control plane has not taken; it is reported at the next start"
            );
        }
    }

    /// Tells of changed credentials when they change: with a bad one the next restart would fail.
    async fn follow_files(&self) {
        loop {
            tokio::time::sleep(LOOK_AT_FILES_EVERY).await;
            let credentials = Arc::clone(&self.link.credentials);
            let _ = stream::blocking(move || credentials.look()).await;
        }
    }

    async fn close_hours(&self) {
        loop {
            tokio::time::sleep(CLOSE_HOURS_EVERY).await;
            self.ledger.close_hours(wall_clock().hour());
        }
    }
}

fn wall_clock() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
