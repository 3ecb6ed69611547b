//! Where all usage goes in: one task merges the reports of every gateway, several in one transaction.
//!
//! A report is acknowledged once it is durable. When the store fails nothing is acknowledged, and gateways
//! send the same absolute values again. At most half of the time is spent in these transactions, so that they
//! never starve changes of the one writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{AccountId, UnixMillis};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::quota::{Boot, Elsewhere, QuotaBook, Wanted};
use crate::store::usage::{self, Merger, Report, Spent};
use crate::store::{Result, Store};

/// As many reports wait at most; their senders wait with them.
const WAITING: usize = 64;
/// One transaction takes no further report once it has so many counters.
const COUNTERS_AT_ONCE: usize = 1_000;
const LONGEST_REST: Duration = Duration::from_millis(50);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const LOOK_FOR_NEW_PERIODS: Duration = Duration::from_secs(1);
const YEAR_MS: i64 = 366 * 86_400_000;
/// Accounts whose usage other control planes merged are read again a second, at most so many.
const READ_AGAIN: usize = 500;

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
    Close {
        boot: Boot,
    },
}

impl Intake {
    /// Merges a report; `true` once it is durable, `false` when it should be sent again.
    pub(super) async fn merge(&self, report: Report) -> bool {
        let (done, merged) = oneshot::channel();
        self.0.send(Command::Merge { report, done }).await.is_ok() && merged.await.is_ok()
    }

    /// Loads what a boot counted so far, and keeps it at hand while its stream holds the answer. `None` when it
    /// could not be loaded.
    pub(super) async fn open(&self, boot: Boot) -> Option<OpenBoot> {
        let (done, opened) = oneshot::channel();
        let command = Command::Open {
            boot: boot.clone(),
            done,
        };
        self.0.send(command).await.ok()?;
        // From here on the book counts this stream, whether or not we stay to hear that it is loaded.
        let open = OpenBoot {
            intake: self.clone(),
            boot,
        };
        opened.await.ok()?;
        Some(open)
    }
}

/// A boot whose own part is in the book. Dropped, its stream no longer counts.
#[derive(Debug)]
pub(super) struct OpenBoot {
    intake: Intake,
    boot: Boot,
}

impl Drop for OpenBoot {
    fn drop(&mut self) {
        let (sender, boot) = (self.intake.0.clone(), self.boot.clone());
        tokio::spawn(async move {
            let _ = sender.send(Command::Close { boot }).await;
        });
    }
}

/// Starts the task; it ends with `shutdown`, after what it had begun.
pub(super) fn start(
    store: &Store,
    book: Arc<QuotaBook>,
    control_plane: &str,
    shutdown: CancellationToken,
) -> (Intake, JoinHandle<()>) {
    let (sender, commands) = mpsc::channel(WAITING);
    let task = Task {
        store: store.clone(),
        book,
        merger: Merger::named(control_plane),
        loaded: false,
    };
    (Intake(sender), tokio::spawn(task.run(commands, shutdown)))
}

struct Task {
    store: Store,
    book: Arc<QuotaBook>,
    merger: Merger,
    /// Whether every account in use is in the book.
    loaded: bool,
}

#[derive(Default)]
struct Batch {
    reports: Vec<Report>,
    done: Vec<oneshot::Sender<()>>,
    counters: usize,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_FOR_NEW_PERIODS);
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
                    self.book.open_boot(&boot);
                    self.merge(std::mem::take(&mut batch)).await?;
                    self.load().await?;
                    self.load_boot(&boot).await?;
                    let _ = done.send(());
                }
                Command::Close { boot } => self.book.close_boot(&boot),
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

    /// Moves the book by what a merge added.
    async fn note(&mut self, spent: &[Spent]) -> Result<()> {
        let now = super::now();
        let mut fresh = Vec::new();
        for spent in spent {
            if self.book.knows(spent.account) {
                self.book.add(spent);
            } else if !fresh.contains(&spent.account) {
                fresh.push(spent.account);
            }
        }
        for account in fresh {
            self.put_account(account, now).await?;
        }
        for spent in spent {
            self.book.add_own(spent);
        }
        Ok(())
    }

    async fn put_account(&self, account: AccountId, now: UnixMillis) -> Result<()> {
        match usage::contract_start(&self.store, account).await? {
            Some(contract_start) => self.put(Wanted::new(account, contract_start, now)).await,
            None => Ok(()),
        }
    }

    async fn put(&self, wanted: Wanted) -> Result<()> {
        let spent = usage::spent_in(&self.store, wanted.account, wanted.period).await?;
        self.book.put(wanted, spent);
        Ok(())
    }

    /// Loads every account in use, and the own part of every open boot, when they are not in the book.
    async fn load(&mut self) -> Result<()> {
        if self.loaded {
            return Ok(());
        }
        let now = super::now();
        let since = UnixMillis(now.0.saturating_sub(YEAR_MS));
        for (account, contract_start) in usage::accounts_in_use(&self.store, since).await? {
            self.put(Wanted::new(account, contract_start, now)).await?;
        }
        for boot in self.book.boots() {
            self.load_boot(&boot).await?;
        }
        self.loaded = true;
        Ok(())
    }

    async fn load_boot(&self, boot: &Boot) -> Result<()> {
        let counted = usage::spent_by_boot(&self.store, &boot.gateway_id, boot.epoch).await?;
        self.book.put_boot(boot, &counted);
        Ok(())
    }

    /// Takes in what other control planes merged, and turns over periods that have ended or were moved.
    async fn refresh(&mut self) -> Result<()> {
        let elsewhere = self.book.take_elsewhere(READ_AGAIN);
        // If this fails half-way, everything is loaded again.
        let was_loaded = std::mem::take(&mut self.loaded);
        if let Elsewhere::Of(accounts) = elsewhere {
            for account in accounts {
                self.put_account(account, super::now()).await?;
            }
            self.loaded = was_loaded;
        }
        self.load().await?;
        let outdated = self.book.outdated(super::now());
        if outdated.is_empty() {
            return Ok(());
        }
        // If this fails half-way, everything is loaded again.
        self.loaded = false;
        for wanted in outdated {
            self.put(wanted).await?;
        }
        for boot in self.book.boots() {
            self.load_boot(&boot).await?;
        }
        self.loaded = true;
        Ok(())
    }
}
