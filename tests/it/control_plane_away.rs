//! The data plane outlives the control plane: it serves on, starts again, and catches up.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyward_contract::{Environment, KeyKind, PlainKey};
use keyward_harness::{Signal, eventually};
use reqwest::Method;
use serde_json::Value;

use crate::api::{Account, Customer};
use crate::relay::Relay;
use crate::stack::{Plan, SOON, Stack};
use crate::wire::{Keys, Wire, call};

/// Longer than usage takes to be shown: a reconnecting gateway may pause for seconds.
const CAUGHT_UP: Duration = Duration::from_secs(30);

/// What every gateway has to know, whatever is away.
struct Known {
    account: Account,
    live: Customer,
    deleted: Customer,
    revoked: Account,
    of_revoked: Customer,
}

impl Known {
    async fn of(stack: &Stack) -> Self {
        let (account, revoked) = (stack.account().await, stack.account().await);
        let live = stack.api.customer(&account.key, "live").await;
        let deleted = stack.api.customer(&account.key, "deleted").await;
        let of_revoked = stack.api.customer(&revoked.key, "of a revoked key").await;
        let path = format!("/customers/{}", deleted.id);
        let answer = stack
            .portal(&account.key, Method::DELETE, &path, Value::Null)
            .await;
        answer.expect(204).in_force_at(stack.gateways.len());
        let path = format!("/admin/customers/{}/api-keys/{}", revoked.id, revoked.key_id);
        let answer = stack.admin(Method::DELETE, &path, Value::Null).await;
        answer.expect(200).in_force_at(stack.gateways.len());
        Self {
            account,
            live,
            deleted,
            revoked,
            of_revoked,
        }
    }

    fn live(&self) -> Keys<'_> {
        Keys {
            account: &self.account.key,
            customer: &self.live.key,
        }
    }

    /// One call of each kind at every gateway; the known one is accepted once at each.
    async fn hold_everywhere(&self, stack: &Stack, when: &str) {
        let never_made = |kind| PlainKey::mint(kind, Environment::Production).unwrap();
        let (account, customer) = (never_made(KeyKind::Account), never_made(KeyKind::Customer));
        let (key, live) = (self.account.key.as_str(), self.live.key.as_str());
        for gateway in &stack.gateways {
            for (account, customer, answer) in [
                (key, live, 200),
                (key, self.deleted.key.as_str(), 403),
                (self.revoked.key.as_str(), self.of_revoked.key.as_str(), 401),
                (account.expose(), live, 401),
                (key, customer.expose(), 403),
            ] {
                let heard = call(gateway.address(), Keys { account, customer }).await;
                assert_eq!(heard.status, answer, "{when}: {}", heard.body);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_serve_restart_and_catch_up_while_the_control_plane_is_away() {
    let plan = Plan {
        gateways: 2,
        ..Plan::default()
    };
    let mut stack = Stack::with(plan).await;
    let known = Arc::new(Known::of(&stack).await);
    known.hold_everywhere(&stack, "before").await;
    accepted_is(&stack, &known, 2..=2).await;

    let load = Load::start(&stack, &known).await;
    stack.control_plane.kill();
    load.goes_on().await;
    known.hold_everywhere(&stack, "with the control plane dead").await;
    stack.gateways[1].restart().await.unwrap();
    known
        .hold_everywhere(&stack, "with a gateway started again")
        .await;
    load.goes_on().await;
    let called = load.stop().await;

    stack.control_plane.restart().await.unwrap();
    stack.all_gateways_connected().await;
    let customer = stack.api.customer(&known.account.key, "new").await;
    for gateway in &stack.gateways {
        let keys = Keys {
            account: &known.account.key,
            customer: &customer.key,
        };
        assert_eq!(call(gateway.address(), keys).await.status, 200);
    }
    known.hold_everywhere(&stack, "with the control plane back").await;
    let path = format!("/customers/{}", customer.id);
    let deleted = stack
        .portal(&known.account.key, Method::DELETE, &path, Value::Null)
        .await;
    deleted.expect(204).in_force_at(2);
    // Four times one at each gateway; one of them was killed with a call that it had not reported yet.
    accepted_is(&stack, &known, called + 7..=called + 8).await;
}

#[tokio::test]
async fn usage_that_was_counted_meanwhile_arrives_exactly_once() {
    const CALLS: u64 = 150;
    let mut stack = Stack::start().await;
    let known = Known::of(&stack).await;
    let mut wire = Wire::open(stack.gateway()).await;
    for third in 1..=3 {
        for _ in 0..CALLS / 3 {
            assert_eq!(wire.call(known.live()).await.status, 200);
        }
        // The first third may have been reported, the second can't, the third is reported to the new one.
        match third {
            1 => stack.control_plane.kill(),
            2 => stack.control_plane.restart().await.unwrap(),
            _ => stack.all_gateways_connected().await,
        }
    }
    accepted_is(&stack, &known, CALLS..=CALLS).await;
}

#[tokio::test]
async fn usage_whose_report_was_lost_on_its_way_is_reported_again() {
    const CALLS: u64 = 50;
    /// More than the heartbeats that pass before a report is due.
    const A_REPORT: u64 = 150;
    let relay = Relay::new();
    let plan = Plan {
        relay: Some(&relay),
        ..Plan::default()
    };
    let mut stack = Stack::with(plan).await;
    let known = Known::of(&stack).await;
    // Takes what is sent to it into its socket, and will never read it.
    stack.control_plane.process().signal(Signal::Stop).unwrap();
    let mut wire = Wire::open(stack.gateway()).await;
    let before = relay.passed().bytes;
    for _ in 0..CALLS {
        assert_eq!(wire.call(known.live()).await.status, 200);
    }
    let sent = eventually(SOON, || async {
        let sent = relay.passed().bytes - before;
        anyhow::ensure!(sent >= A_REPORT, "only {sent} bytes");
        Ok(())
    });
    sent.await.unwrap();
    stack.control_plane.kill();
    // No call after this one moves the counters again.
    stack.control_plane.restart().await.unwrap();
    accepted_is(&stack, &known, CALLS..=CALLS).await;
}

/// Waits until the control plane has counted so many accepted calls of the live customer, neither more nor less.
async fn accepted_is(stack: &Stack, known: &Known, expected: RangeInclusive<u64>) {
    let path = format!("/customers/{}/usage", known.live.id);
    let arrived = eventually(CAUGHT_UP, || async {
        let shown = stack
            .portal(&known.account.key, Method::GET, &path, Value::Null)
            .await;
        let shown = shown.expect(200).json();
        let counted = shown["usage"]["currentYear"]["accepted"].as_u64().unwrap();
        anyhow::ensure!(expected.contains(&counted), "{counted} of {expected:?}");
        Ok(())
    });
    arrived.await.unwrap();
}

/// Calls with the known key, all the time, at the gateway that is never killed. Every one must be accepted.
struct Load {
    task: tokio::task::JoinHandle<()>,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Load {
    async fn start(stack: &Stack, known: &Arc<Known>) -> Self {
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (known, gateway) = (Arc::clone(known), stack.gateway());
        let load = Self {
            stop: Arc::clone(&stop),
            calls: Arc::clone(&calls),
            task: tokio::spawn(async move {
                let mut wire = Wire::open(gateway).await;
                while !stop.load(Ordering::Relaxed) {
                    let heard = wire.call(known.live()).await;
                    assert_eq!(heard.status, 200, "{}", heard.body);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            }),
        };
        load.goes_on().await;
        load
    }

    /// Waits until 200 more calls have been accepted.
    async fn goes_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        let went_on = eventually(SOON, || async {
            let now = self.calls.load(Ordering::Relaxed);
            anyhow::ensure!(now >= before + 200, "only {} calls", now - before);
            Ok(())
        });
        went_on.await.unwrap();
    }

    /// How many calls were accepted.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.calls.load(Ordering::Relaxed)
    }
}
