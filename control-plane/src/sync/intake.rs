//! Where all usage goes in: one task merges the reports of every gateway, several in one transaction.
//!
//! A report is acknowledged once it is durable. When the store fails nothing is acknowledged, and gateways
//! send the same absolute values again. At most half of the time is spent in these transactions, so that they
//! never starve changes of the one writer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{AccountId, UnixMillis};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::gateways::Gateways;
use super::quota::{Boot, Elsewhere, MOST_KEPT, QuotaBook, Wanted};
use crate::store::usage::{self, GatewayCounted, Merger, Report, Spent};
use crate::store::{Result, Store};

/// As many reports wait at most; their senders wait with them.
const WAITING: usize = 64;
/// One transaction takes no further report once it has so many counters.
const COUNTERS_AT_ONCE: usize = 1_000;
const LONGEST_REST: Duration = Duration::from_millis(50);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How soon what other control planes merged is read, when they can be heard.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(200);
const LOOK_FOR_NEW_PERIODS: Duration = Duration::from_secs(1);
const FORGET_SILENT: Duration = Duration::from_secs(3_600);
const YEAR_MS: i64 = 366 * 86_400_000;
/// Accounts whose usage other control planes merged are read again at each look, at most so many.
const READ_AGAIN: usize = 500;
/// The sums of so many accounts are read together.
const READ_TOGETHER: usize = 100;

/// The way in. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Intake(mpsc::Sender<Command>);

#[derive(Debug)]
enum Command {
    Merge {
        report: Report,
        done: oneshot::Sender<()>,
    },
    Open {
        boot: Boot,
        done: oneshot::Sender<()>,
    },
}

impl Intake {
    /// Merges a report; `true` once it is durable, `false` when it should be sent again.
    pub(super) async fn merge(&self, report: Report) -> bool {
        let (done, merged) = oneshot::channel();
        self.0.send(Command::Merge { report, done }).await.is_ok() && merged.await.is_ok()
    }

    /// Loads what a boot counted so far: from then on its stream is told of quotas. `false` when it could not be loaded.
    pub(super) async fn open(&self, boot: Boot) -> bool {
        let (done, opened) = oneshot::channel();
        self.0.send(Command::Open { boot, done }).await.is_ok() && opened.await.is_ok()
    }
}

/// Starts the task; it ends with `shutdown`, after what it had begun.
pub(super) fn start(
    store: &Store,
    book: Arc<QuotaBook>,
    gateways: &Gateways,
    shutdown: CancellationToken,
) -> (Intake, JoinHandle<()>) {
    let (sender, commands) = mpsc::channel(WAITING);
    let task = Task {
        store: store.clone(),
        book,
        merger: Merger::named(gateways.control_plane()),
        gateways: gateways.clone(),
        filled: false,
        loaded: false,
        looked: None,
        forgot: Instant::now(),
    };
    (Intake(sender), tokio::spawn(task.run(commands, shutdown)))
}

struct Task {
    store: Store,
    book: Arc<QuotaBook>,
    merger: Merger,
    gateways: Gateways,
    /// Whether the gateways of before this start are kept apart.
    filled: bool,
    /// Whether every account in use is in the book.
    loaded: bool,
    /// When new periods were last looked for.
    looked: Option<Instant>,
    /// When silent gateways were last forgotten.
    forgot: Instant,
}

#[derive(Default)]
struct Batch {
    reports: Vec<Report>,
    done: Vec<oneshot::Sender<()>>,
    counters: usize,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_ELSEWHERE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                // What has come is merged before the end.
                biased;
                Some(command) = commands.recv() => Some(command),
                () = shutdown.cancelled() => return,
                _ = look.tick() => None,
            };
            let began = Instant::now();
            let worked = match command {
                Some(command) => self.work(command, &mut commands).await,
                None => self.refresh().await,
            };
            match worked {
                Ok(()) => tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await,
                Err(error) => {
                    tracing::warn!(%error, "usage can't be kept; gateways will send it again");
                    metrics::counter!("keyward_usage_merge_failures_total").increment(1);
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Does one command, and with a report all others that have come.
    async fn work(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) -> Result<()> {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Merge { report, done } => {
                    batch.counters += report.counters.len();
                    batch.reports.push(report);
                    batch.done.push(done);
                }
                // The order of merges and openings is what keeps a boot's own part exact.
                Command::Open { boot, done } => {
                    self.merge(std::mem::take(&mut batch)).await?;
                    self.open(&boot).await?;
                    let _ = done.send(());
                }
            }
            next = (batch.counters < COUNTERS_AT_ONCE)
                .then(|| commands.try_recv().ok())
                .flatten();
        }
        self.merge(batch).await
    }

    async fn merge(&mut self, batch: Batch) -> Result<()> {
        if batch.reports.is_empty() {
            return Ok(());
        }
        self.load().await?;
        let spent = self.merger.merge(&self.store, &batch.reports).await?;
        for done in batch.done {
            let _ = done.send(());
        }
        metrics::counter!("keyward_usage_counters_merged_total").increment(batch.counters as u64);
        if let Err(error) = self.note(&spent).await {
            // The merge is durable; what the book lacks is read again.
            self.loaded = false;
            return Err(error);
        }
        Ok(())
    }

    async fn open(&mut self, boot: &Boot) -> Result<()> {
        let new = self.book.heard([boot.gateway_id.clone()], Instant::now());
        self.keep_apart(&new).await?;
        self.load().await?;
        let counted = usage::spent_by_boot(&self.store, &boot.gateway_id, boot.epoch).await?;
        self.book.open(boot, &counted, Instant::now());
        Ok(())
    }

    /// These gateways are new to the book: what they counted before is among what all others did until all is read again.
    async fn keep_apart(&mut self, new: &[String]) -> Result<()> {
        // If this fails, everything is loaded again.
        let was_loaded = std::mem::take(&mut self.loaded);
        for gateway in new {
            if usage::has_counted(&self.store, gateway).await? {
                return Ok(());
            }
        }
        self.loaded = was_loaded;
        Ok(())
    }

    /// Moves the book by what a merge added.
    async fn note(&mut self, spent: &[Spent]) -> Result<()> {
        let unknown = self.book.add(spent);
        self.read(unknown).await
    }

    /// Reads the sums of these accounts.
    async fn read(&self, accounts: BTreeSet<AccountId>) -> Result<()> {
        let now = super::now();
        let accounts: Vec<AccountId> = accounts.into_iter().collect();
        let starts = usage::contract_starts(&self.store, &accounts).await?;
        let wanted = starts
            .into_iter()
            .map(|(account, contract_start)| Wanted::new(account, contract_start, now));
        self.put(wanted.collect()).await
    }

    /// Puts the sums of these accounts into the book: most have the same period.
    async fn put(&self, wanted: Vec<Wanted>) -> Result<()> {
        let mut periods: HashMap<_, Vec<Wanted>> = HashMap::new();
        for wanted in wanted {
            let period = (wanted.period.start, wanted.period.end);
            periods.entry(period).or_default().push(wanted);
        }
        let none = GatewayCounted::default();
        for wanted in periods.values().flat_map(|same| same.chunks(READ_TOGETHER)) {
            let Some(period) = wanted.first().map(|first| first.period) else {
                continue;
            };
            let accounts: Vec<AccountId> = wanted.iter().map(|wanted| wanted.account).collect();
            let counted = usage::counted_in(&self.store, &accounts, period).await?;
            for wanted in wanted {
                self.book
                    .put(*wanted, counted.get(&wanted.account).unwrap_or(&none));
            }
        }
        Ok(())
    }

    /// Loads every account in use when they are not in the book.
    async fn load(&mut self) -> Result<()> {
        if self.loaded {
            return Ok(());
        }
        let now = super::now();
        let since = UnixMillis(now.0.saturating_sub(YEAR_MS));
        if !self.filled {
            let gateways = usage::newest_gateways(&self.store, MOST_KEPT).await?;
            self.book.heard(gateways, Instant::now());
            self.filled = true;
        }
        let used = usage::accounts_in_use(&self.store, since).await?;
        let wanted = used
            .into_iter()
            .map(|(account, contract_start)| Wanted::new(account, contract_start, now));
        self.put(wanted.collect()).await?;
        self.loaded = true;
        Ok(())
    }

    /// Takes in what other control planes merged, and once a second which gateways there are and which periods have
    /// ended or were moved.
    async fn refresh(&mut self) -> Result<()> {
        let now = Instant::now();
        let due = self
            .looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_FOR_NEW_PERIODS);
        if due {
            self.looked = Some(now);
            self.hear(now).await?;
        }
        let elsewhere = self.book.take_elsewhere(READ_AGAIN);
        // If this fails half-way, everything is loaded again.
        let was_loaded = std::mem::take(&mut self.loaded);
        if let Elsewhere::Of(accounts) = elsewhere {
            self.read(accounts.into_iter().collect()).await?;
            self.loaded = was_loaded;
        }
        self.load().await?;
        if due {
            self.turn_over().await?;
        }
        Ok(())
    }

    /// Notes which gateways there are now.
    async fn hear(&mut self, now: Instant) -> Result<()> {
        if now.saturating_duration_since(self.forgot) >= FORGET_SILENT {
            self.forgot = now;
            self.book.forget_silent(now);
        }
        let there = self.gateways.status().into_iter();
        let up = there.filter(|gateway| matches!(gateway.state, "connected" | "syncing"));
        let new = self.book.heard(up.map(|gateway| gateway.gateway_id), now);
        self.keep_apart(&new).await
    }

    async fn turn_over(&mut self) -> Result<()> {
        let outdated = self.book.outdated(super::now());
        if outdated.is_empty() {
            return Ok(());
        }
        // If this fails half-way, everything is loaded again.
        self.loaded = false;
        self.put(outdated).await?;
        self.loaded = true;
        Ok(())
    }
}
