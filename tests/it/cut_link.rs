//! A gateway whose link is cut: the change that waits for it names it, and with a bound of staleness no gateway honours
//! a revoked key for longer than that, so that the change may be answered as complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyward_harness::eventually;
use reqwest::Method;
use serde_json::Value;

use crate::api::{Account, Answer, Customer};
use crate::relay::{Line, Relay};
use crate::stack::{Plan, SOON, Stack};
use crate::wire::{Keys, Wire, call};

const WAIT: Duration = Duration::from_secs(1);
/// What an answer takes on a busy machine beside its wait.
const BUSY: Duration = Duration::from_secs(5);
const BOUND: Duration = Duration::from_secs(3);
const DENY: &str = "[sync]\nmax_staleness = \"3s\"\nwhen_stale = \"deny\"\n";

/// Two gateways, the first behind a relay, and an account with two end customers.
struct Cut {
    stack: Stack,
    relay: Relay,
    account: Account,
    ended: Customer,
    living: Customer,
}

impl Cut {
    async fn start(plan: Plan<'_>) -> Self {
        let relay = Relay::new();
        let stack = Stack::with(Plan {
            gateways: 2,
            relay: Some(&relay),
            ..plan
        })
        .await;
        let account = stack.account().await;
        let ended = stack.api.customer(&account.key, "ended").await;
        let living = stack.api.customer(&account.key, "living").await;
        Self {
            stack,
            relay,
            account,
            ended,
            living,
        }
    }

    fn keys<'k>(&'k self, customer: &'k Customer) -> Keys<'k> {
        Keys {
            account: &self.account.key,
            customer: &customer.key,
        }
    }

    async fn status(&self, gateway: usize, customer: &Customer) -> u16 {
        let gateway = self.stack.gateways[gateway].address();
        call(gateway, self.keys(customer)).await.status
    }

    async fn end(&self, customer: &Customer) -> Answer {
        let path = format!("/customers/{}", customer.id);
        self.stack
            .portal(&self.account.key, Method::DELETE, &path, Value::Null)
            .await
            .expect(204)
    }

    async fn becomes(&self, gateway: usize, customer: &Customer, status: u16) {
        let became = eventually(SOON, || async {
            let answered = self.status(gateway, customer).await;
            anyhow::ensure!(answered == status, "{answered}");
            Ok(())
        });
        became.await.unwrap();
    }
}

async fn named_within_the_wait(line: Line) {
    let cut = Cut::start(Plan {
        wait: WAIT,
        ..Plan::default()
    })
    .await;
    cut.relay.is(line);
    let began = Instant::now();
    let answer = cut.end(&cut.ended).await;
    let took = began.elapsed();
    assert_eq!(
        answer.header("keyward-propagation"),
        "partial; gateways=1; missing=edge-1"
    );
    assert!((WAIT..WAIT + BUSY).contains(&took), "{took:?}");
    assert_eq!(cut.status(1, &cut.ended).await, 403);
    // It serves on what it knew, and says so to nobody.
    assert_eq!(cut.status(0, &cut.ended).await, 200);

    cut.relay.is(Line::Up);
    cut.becomes(0, &cut.ended, 403).await;
    cut.stack.all_gateways_connected().await;
    cut.end(&cut.living).await.in_force_at(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_connection_broke_is_named_within_the_wait() {
    named_within_the_wait(Line::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_connection_swallows_everything_is_named_within_the_wait() {
    named_within_the_wait(Line::Swallowing).await;
}

async fn complete_once_it_refuses(line: Line) {
    let cut = Arc::new(
        Cut::start(Plan {
            gateway_tables: DENY,
            ..Plan::default()
        })
        .await,
    );
    let answered = Arc::<AtomicBool>::default();
    let calls = tokio::spawn(call_all_the_time(Arc::clone(&cut), Arc::clone(&answered)));
    cut.relay.is(line);
    let began = Instant::now();
    // The one that is left has it in force; the other has refused everything since its bound ran out.
    cut.end(&cut.ended).await.in_force_at(1);
    answered.store(true, Ordering::SeqCst);
    let took = began.elapsed();
    for customer in [&cut.ended, &cut.living] {
        assert_eq!(cut.status(0, customer).await, 503, "{took:?} after the cut");
    }
    assert_eq!(cut.status(1, &cut.living).await, 200);
    let last = calls.await.unwrap().unwrap();
    // The bound counts from when the last heartbeat was sent that was answered: before the cut.
    let served_on = last.saturating_duration_since(began);
    assert!(served_on <= BOUND, "{served_on:?}");

    cut.relay.is(Line::Up);
    cut.becomes(0, &cut.living, 200).await;
    assert_eq!(cut.status(0, &cut.ended).await, 403);
    cut.stack.all_gateways_connected().await;
    cut.end(&cut.living).await.in_force_at(2);
}

/// Calls the gateway that is cut off with the key that ends, until it refuses and a little longer: when the last
/// accepted call began. No call that begins after the answer is accepted.
async fn call_all_the_time(cut: Arc<Cut>, answered: Arc<AtomicBool>) -> Option<Instant> {
    let mut wire = Wire::open(cut.stack.gateway()).await;
    let (mut last, mut after) = (None, 0);
    while after < 50 {
        let (is_over, began) = (answered.load(Ordering::SeqCst), Instant::now());
        let status = wire.call(cut.keys(&cut.ended)).await.status;
        assert!([200, 503].contains(&status), "{status}");
        assert!(!is_over || status != 200, "accepted after the answer");
        after += u32::from(is_over);
        if status == 200 {
            last = Some(began);
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_denies_when_stale_is_awaited_until_its_bound_is_over_when_its_connection_broke() {
    complete_once_it_refuses(Line::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_denies_when_stale_is_awaited_until_its_bound_is_over_when_all_is_swallowed() {
    complete_once_it_refuses(Line::Swallowing).await;
}
