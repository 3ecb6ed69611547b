//! The thread `keyward-limiter`: the connection and all lanes, on a runtime of its own, so that neither calls nor a
//! snapshot delay a question.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::lane::Runner;
use super::link::Connected;
use super::{SETTLED, SharedLimits};

/// How often it is looked whether the past is known.
const LOOK: Duration = Duration::from_millis(250);

/// The running thread.
#[derive(Debug)]
pub struct LimiterThread {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl LimiterThread {
    /// Starts it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(limits: Arc<SharedLimits>) -> std::io::Result<Self> {
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("keyward-limiter".into())
            .spawn(move || runtime.block_on(run(&limits, &stopped)))?;
        Ok(Self { stop, thread })
    }

    /// Hands all leases back and ends, within half a second. Nothing may be spent from then on.
    pub fn stop(self) {
        self.stop.cancel();
        let _ = self.thread.join();
    }
}

async fn run(limits: &SharedLimits, stop: &CancellationToken) {
    let connected = Connected::default();
    let mut runners: Vec<Runner<'_>> = limits
        .lanes_in_use()
        .iter()
        .map(|lane| Runner::new(limits, lane, &connected))
        .collect();
    let failed = || {
        limits
            .lanes_in_use()
            .iter()
            .for_each(|lane| limits.went_away(lane))
    };
    let came = || {
        limits.connections.fetch_add(1, Ordering::AcqRel);
    };
    let reconnected = async {
        loop {
            connected.link().await;
            come_back_when_idle(limits);
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = connected.keep(&limits.buckets, came, failed) => {}
        () = settle_past(limits) => {}
        () = reconnected => {}
        _ = futures_util::future::join_all(runners.iter_mut().map(Runner::run)) => {}
    }
    futures_util::future::join_all(runners.iter_mut().map(Runner::leave)).await;
}

/// A lane that nobody asks anything finds out by nothing else that Redis is back.
fn come_back_when_idle(limits: &SharedLimits) {
    for lane in limits.lanes_in_use() {
        if lane.is_empty() && !lane.is_asking.load(Ordering::Relaxed) {
            limits.came_back(lane);
        }
    }
}

/// Notes when the control plane has all that earlier starts of this gateway counted.
async fn settle_past(limits: &SharedLimits) {
    let mut clear_since: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let is_clear =
            limits.sync.is_following() && limits.ledger.oldest_boot_epoch() == limits.ledger.boot_epoch();
        clear_since = is_clear.then(|| clear_since.unwrap_or_else(Instant::now));
        if clear_since.is_some_and(|since| since.elapsed() >= SETTLED) {
            limits.knows_past.store(true, Ordering::Relaxed);
            return std::future::pending().await;
        }
    }
}
