//! One gateway's stream, from its Welcome to its end.
//!
//! Three things go on at once: `reader` takes what comes, `writer` sends what there is, `usage` has reports
//! merged. The first that ends, ends the stream; the gateway then reconnects and resumes. Each holds a bounded
//! amount: a gateway that reads slowly is left behind in the feed, one that doesn't read at all is dropped.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use keyward_contract::feed::{GatewayFrame, UsageReport};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tonic::{Status, Streaming};

use super::access::Admitted;
use super::feed::Epoch;
use super::follow::Service;
use super::frames::Outbox;
use super::gateways::Membership;
use super::quota::Boot;
use crate::store::changes::Place;

mod echo;
mod reader;
mod usage;
mod writer;

pub use echo::Echo;
use reader::Reader;
use writer::Writer;

/// How long the last word to a gateway may take.
const LAST_WORD: Duration = Duration::from_secs(1);

pub(super) struct Session {
    pub(super) service: Arc<Service>,
    pub(super) boot: Boot,
    pub(super) wants_digest_key: bool,
    /// By what it was let in, and what of the log and of snapshots it is sent.
    pub(super) admitted: Admitted,
    /// The protocol that is spoken.
    pub(super) protocol: u32,
    /// What its revisions belong to.
    pub(super) epoch: Epoch,
    /// Up to where the gateway holds that log; a revision of 0 when it needs a snapshot.
    pub(super) begins_at: Place,
    pub(super) membership: Membership,
    pub(super) out: Outbox,
    pub(super) shared: Shared,
}

/// What the reader and the writer tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Up to where the gateway was sent the log, or says that it had it.
    sent: AtomicU64,
    /// The steady clocks of its heartbeats.
    echo: Mutex<Echo>,
    /// A heartbeat came.
    heartbeat: Notify,
    /// The oldest start of the gateway that may still report usage, as it says; 0: not said.
    oldest_boot: watch::Sender<u64>,
}

impl Shared {
    /// Of a gateway that holds the log up to here.
    pub(super) fn holding(position: u64) -> Self {
        Self {
            sent: AtomicU64::new(position),
            ..Self::default()
        }
    }

    /// It says which of its starts may still report usage.
    pub(super) fn hear_oldest_boot(&self, epoch: u64) {
        self.oldest_boot.send_if_modified(|oldest| {
            let is_news = epoch > *oldest;
            *oldest = epoch.max(*oldest);
            is_news
        });
    }
}

impl Session {
    pub(super) async fn run(self, inbound: Streaming<GatewayFrame>) {
        // One report waits while one is merged; a gateway that sends more sends them again.
        let (reports, waiting) = mpsc::channel::<UsageReport>(1);
        let (merged, acknowledgements) = mpsc::channel(4);
        let reader = Reader {
            session: &self,
            reports,
        };
        let writer = Writer::new(&self, acknowledgements);
        let ended = tokio::select! {
            ended = reader.run(inbound) => ended,
            ended = writer.run() => ended,
            ended = usage::merge_reports(&self, waiting, merged) => ended,
            () = self.membership.ends().cut_off.cancelled() => Err(Status::unavailable("the database is away")),
            () = self.membership.ends().replaced.cancelled() => Err(Status::already_exists("a later stream has this id")),
            refused = self.service.access.lost(&self.admitted) => {
                metrics::counter!("keyward_sync_refused_streams_total", "reason" => refused.reason()).increment(1);
                Err(refused.status())
            }
            () = self.epoch.over() => {
                self.membership.holds_nothing();
                Err(Status::aborted("the change log has begun anew"))
            }
            () = self.service.shutdown.cancelled() => Err(Status::unavailable("the control plane is stopping")),
            () = self.out.closed() => Ok(()),
        };
        match ended {
            Ok(()) => tracing::info!(gateway = self.boot.gateway_id, "a gateway's stream has ended"),
            Err(status) => {
                let (code, message) = (status.code(), status.message());
                tracing::warn!(
                    gateway = self.boot.gateway_id,
                    ?code,
                    message,
                    "a gateway's stream was ended"
                );
                let _ = tokio::time::timeout(LAST_WORD, self.out.end(status)).await;
            }
        }
    }

    fn echo(&self) -> u64 {
        self.shared.echo.lock().told()
    }
}
