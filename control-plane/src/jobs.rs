//! What the control plane does by itself: delivering webhooks, telling of keys that expire and of quotas that run
//! out, and forgetting what is old.
//!
//! All of it goes by the control plane's clock, and all of it may run in any number of control planes: deliveries
//! are leased, the rest is claimed, and nothing depends on the claim to happen once. A job that fails is tried again;
//! one that panics is begun again.

use std::future::Future;
use std::time::Duration;

use keyward_contract::UnixMillis;
use metrics::counter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::App;
use crate::operations::thresholds::{self, Told};
use crate::operations::webhooks::dispatch;
use crate::operations::{Result, expiry, idempotency};
use crate::store::jobs;
use crate::store::webhooks::{attempts, deliveries};

mod usage;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const BEGIN_AGAIN_AFTER: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Starts all jobs; they end with `stop`.
pub fn start(app: &App, tasks: &TaskTracker, stop: &CancellationToken) {
    let (delivering, looking) = ((app.clone(), stop.clone()), (app.clone(), stop.clone()));
    tasks.spawn(kept_alive("webhooks", stop.clone(), move || {
        let (app, stop) = delivering.clone();
        async move { dispatch::run(&app, &stop).await }
    }));
    let keeping = (app.clone(), stop.clone());
    tasks.spawn(kept_alive("usage", stop.clone(), move || {
        let (app, stop) = keeping.clone();
        async move { usage::run(&app, &stop).await }
    }));
    tasks.spawn(kept_alive("jobs", stop.clone(), move || {
        let (app, stop) = looking.clone();
        async move { Jobs::new(app).run(&stop).await }
    }));
}

async fn kept_alive<F, T>(name: &'static str, stop: CancellationToken, begin: F)
where
    F: Fn() -> T,
    T: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(begin()).await {
        tracing::error!(%error, name, "a job ended in a panic and is begun again");
        if tokio::time::timeout(BEGIN_AGAIN_AFTER, stop.cancelled())
            .await
            .is_ok()
        {
            return;
        }
    }
}

struct Jobs {
    app: App,
    /// Whose claims these are.
    holder: String,
    told: Told,
    every_minute: Every,
    every_hour: Every,
    swept: Every,
}

/// When something is to be done again.
struct Every {
    span: Duration,
    next: UnixMillis,
}

impl Every {
    fn new(span: Duration) -> Self {
        Self {
            span,
            next: UnixMillis(i64::MIN),
        }
    }

    fn is_due(&mut self, now: UnixMillis) -> bool {
        let due = self.next <= now;
        if due {
            let span = i64::try_from(self.span.as_millis()).unwrap_or(i64::MAX);
            self.next = UnixMillis(now.0.saturating_add(span));
        }
        due
    }
}

impl Jobs {
    fn new(app: App) -> Self {
        Self {
            app,
            holder: uuid::Uuid::now_v7().to_string(),
            told: Told::default(),
            every_minute: Every::new(MINUTE),
            every_hour: Every::new(HOUR),
            swept: Every::new(HOUR),
        }
    }

    async fn run(mut self, stop: &CancellationToken) {
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "quotas can't be looked at; trying again in an hour");
        }
        while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "a job failed and is tried again");
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        let now = self.app.registry.clock.now();
        self.look_at_spent().await?;
        if self.every_minute.is_due(now) && self.claim("minute", MINUTE).await? {
            self.do_every_minute().await?;
        }
        if self.swept.is_due(now) && self.claim("quotas", HOUR).await? {
            self.sweep().await?;
        }
        if self.every_hour.is_due(now) && self.claim("hour", HOUR).await? {
            self.do_every_hour().await?;
        }
        Ok(())
    }

    async fn claim(&self, name: &str, span: Duration) -> Result<bool> {
        let registry = &self.app.registry;
        // A little less, so that who holds it has it again before others may.
        let span = span.saturating_sub(LOOK_EVERY);
        Ok(jobs::claim(&registry.store, name, &self.holder, registry.clock.now(), span).await?)
    }

    async fn look_at_spent(&mut self) -> Result<()> {
        let registry = &self.app.registry;
        let spent = registry.store.signals().take_spent();
        match thresholds::look(registry, &mut self.told, spent.iter().copied()).await {
            Ok(crossed) => {
                self.count(&crossed);
                Ok(())
            }
            Err(error) => {
                registry.store.signals().spent(spent);
                Err(error)
            }
        }
    }

    async fn sweep(&mut self) -> Result<()> {
        let crossed = thresholds::look_at_all(&self.app.registry, &mut self.told).await?;
        self.count(&crossed);
        Ok(())
    }

    fn count(&self, crossed: &[thresholds::Threshold]) {
        self.app.telemetry.with(|| {
            for threshold in crossed {
                let percent = threshold.percent().to_string();
                counter!("keyward_quota_crossings_total", "threshold" => percent).increment(1);
            }
        });
    }

    async fn do_every_minute(&self) -> Result<()> {
        let registry = &self.app.registry;
        let announced = expiry::announce(registry).await?;
        if announced > 0 {
            tracing::info!(keys = announced, "keys expire within a week");
        }
        let ended = attempts::give_up_late(&registry.store, registry.clock.now()).await?;
        if ended > 0 {
            tracing::warn!(deliveries = ended, "deliveries are tried no more");
        }
        Ok(())
    }

    async fn do_every_hour(&self) -> Result<()> {
        let registry = &self.app.registry;
        idempotency::purge(registry).await?;
        while deliveries::forget_old(&registry.store, registry.clock.now()).await? > 0 {}
        Ok(())
    }
}
