//! Telling webhooks what the outbox holds: at once what this control plane committed, within a second what another
//! one did or left behind.
//!
//! Each endpoint has a few places of its own, so that a slow one delays no other. What fails is tried again for 24
//! hours with growing pauses; 2xx is success, everything else is not, and 410 ends the webhook. Messages arrive at
//! least once, in no promised order. Idle, it costs one look into an index a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keyward_contract::UnixMillis;
use metrics::counter;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::send::{self, Outcome};
use crate::App;
use crate::domain::webhook::{Webhook, WebhookId, pause_ms};
use crate::operations::Result;
use crate::store::webhooks as store;
use crate::store::webhooks::attempts::{self, Next, Taken};
use crate::store::webhooks::deliveries::Attempt;

/// How many attempts at one endpoint go on at once.
const PLACES: usize = 4;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const GONE: u16 = 410;

/// Delivers until `stop`, then lets the attempts that are under way end.
pub async fn run(app: &App, stop: &CancellationToken) {
    let client = match send::client() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "webhooks are not delivered by this control plane");
            return;
        }
    };
    let mut dispatch = Dispatch {
        app: app.clone(),
        client,
        busy: HashMap::new(),
        attempts: JoinSet::new(),
        whose: HashMap::new(),
    };
    let signals = app.registry.store.signals();
    while !stop.is_cancelled() {
        if let Err(error) = dispatch.begin_what_is_due().await {
            tracing::warn!(%error, "deliveries can't be read; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = dispatch.one_has_ended() => {}
            () = signals.deliveries() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    while !dispatch.attempts.is_empty() {
        dispatch.one_has_ended().await;
    }
}

struct Dispatch {
    app: App,
    client: reqwest::Client,
    /// Attempts under way, by webhook.
    busy: HashMap<WebhookId, usize>,
    attempts: JoinSet<()>,
    whose: HashMap<Id, WebhookId>,
}

impl Dispatch {
    async fn begin_what_is_due(&mut self) -> Result<()> {
        let registry = &self.app.registry;
        let now = registry.clock.now();
        for id in attempts::webhooks_due(&registry.store, now).await? {
            let free = PLACES.saturating_sub(self.busy.get(&id).copied().unwrap_or_default());
            if free == 0 {
                continue;
            }
            let Some(webhook) = store::by_id(registry.store.readers(), id).await? else {
                continue;
            };
            let webhook = Arc::new(webhook);
            let limit = i64::try_from(free).unwrap_or_default();
            for taken in attempts::take(&registry.store, id, now, limit).await? {
                let attempt = attempt(self.app.clone(), self.client.clone(), Arc::clone(&webhook), taken);
                let task = self.attempts.spawn(attempt).id();
                self.whose.insert(task, id);
                *self.busy.entry(id).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Waits for the end of an attempt; for ever, when there is none.
    async fn one_has_ended(&mut self) {
        let task = match self.attempts.join_next_with_id().await {
            Some(Ok((task, ()))) => task,
            Some(Err(error)) => {
                // Its lease ends, and it is tried again.
                tracing::error!(%error, "a delivery ended in a panic");
                error.id()
            }
            None => return std::future::pending().await,
        };
        if let Some(id) = self.whose.remove(&task)
            && let Some(busy) = self.busy.get_mut(&id)
        {
            *busy = busy.saturating_sub(1);
            if *busy == 0 {
                self.busy.remove(&id);
            }
        }
    }
}

async fn attempt(app: App, client: reqwest::Client, webhook: Arc<Webhook>, taken: Taken) {
    let clock = &app.registry.clock;
    let (at, began) = (clock.now(), std::time::Instant::now());
    let outcome = send::attempt(&client, &app.registry.master_key, &webhook, &taken, at).await;
    let (next, result) = decide(&outcome, &taken, clock.now());
    let (status, error) = match &outcome {
        Outcome::Answered(status) => (Some(i64::from(*status)), None),
        Outcome::Failed(reason) => (None, Some(reason.clone())),
    };
    let done = Attempt {
        at,
        duration_ms: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
        status,
        error,
    };
    tracing::debug!(webhook = %webhook.id, delivery = %taken.id, result, "a delivery was tried");
    app.telemetry
        .with(|| counter!("keyward_webhook_deliveries_total", "result" => result).increment(1));
    if outcome == Outcome::Answered(GONE) {
        tracing::warn!(webhook = %webhook.id, "the endpoint is gone: the webhook is disabled");
        if let Err(error) = super::disable_gone(&app.registry, webhook.id).await {
            tracing::warn!(%error, "a webhook that is gone could not be disabled; its next answer will");
        }
    }
    if let Err(error) = attempts::finish(&app.registry.store, &taken, &done, next).await {
        tracing::warn!(%error, delivery = %taken.id, "what came of a delivery can't be noted; it is tried again");
    }
}

/// What becomes of the delivery, and what metrics call that.
fn decide(outcome: &Outcome, taken: &Taken, now: UnixMillis) -> (Next, &'static str) {
    match outcome {
        Outcome::Answered(200..=299) => (Next::Delivered, "delivered"),
        Outcome::Answered(GONE) => (Next::Failed, "failed"),
        _ => {
            let again = UnixMillis(now.0.saturating_add(pause_ms(taken.tries, chance())));
            if again < taken.give_up_at {
                (Next::Again(again), "retried")
            } else {
                (Next::Failed, "failed")
            }
        }
    }
}

fn chance() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness all pauses are as long as they may be.
    getrandom::fill(&mut bytes).map_or(u16::MAX, |()| u16::from_le_bytes(bytes))
}
