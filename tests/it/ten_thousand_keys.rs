//! Suspending an account is one change, however many keys it has: every one of ten thousand is refused when it is
//! acknowledged, and served again when the account is active again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keyward_config::ControlPlaneConfig;
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::seed::{self, Plan, Seeded};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stack::Stack;
use crate::wire::{Keys, Wire};

/// With the account's own key.
const KEYS: usize = 10_000;
/// A second is promised of a release build on a machine that does nothing else.
const AT_MOST: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_ten_thousand_keys_end_and_return_with_their_account_in_one_revision() {
    let stack = Stack::start().await;
    let seeded = seed(&stack).await;
    let path = format!("/admin/customers/{}", seeded.account_id);
    let free = json!({"tier": "custom", "overrides": {"rate_limit": 1_000_000, "burst_limit": 1_000_000}});
    stack
        .admin(Method::PATCH, &path, free)
        .await
        .expect(200)
        .in_force_at(1);
    all_are(&stack, &seeded, 200).await;
    for (status, answered) in [("suspended", 403), ("active", 200)] {
        let before = revision(&stack).await;
        let started = Instant::now();
        let change = stack
            .admin(Method::PATCH, &path, json!({ "status": status }))
            .await;
        let took = started.elapsed();
        change.expect(200).in_force_at(1);
        assert!(took < AT_MOST, "{status}: {took:?}");
        assert_eq!(revision(&stack).await, before + 1, "{status} is one revision");
        all_are(&stack, &seeded, answered).await;
    }
}

/// Fills the store beside the running control plane, which hears of it a moment later.
async fn seed(stack: &Stack) -> Seeded {
    let file = stack.control_plane.folder().join("control-plane.toml");
    let config = ControlPlaneConfig::load(&file).unwrap();
    let (registry, _) = ControlPlane::open(&config).await.unwrap();
    let plan = Plan {
        accounts: 1,
        customers_per_account: KEYS - 1,
        tier: "enterprise".into(),
    };
    let mut seeded = seed::run(&registry, &plan).await.unwrap();
    stack.all_gateways_connected().await;
    seeded.pop().unwrap()
}

async fn revision(stack: &Stack) -> u64 {
    let told = stack.admin(Method::GET, "/admin/gateways", Value::Null).await;
    told.expect(200).json()["revision"].as_u64().unwrap()
}

/// Every key is called with once.
async fn all_are(stack: &Stack, seeded: &Seeded, status: u16) {
    let account = seeded.account_key.expose();
    let share = seeded.customer_keys.len().div_ceil(CONNECTIONS);
    let mut calls = JoinSet::new();
    for keys in seeded.customer_keys.chunks(share) {
        let keys = keys.iter().map(|key| key.expose().to_owned()).collect();
        calls.spawn(answers(stack.gateway(), account.to_owned(), keys));
    }
    for (key, heard) in calls.join_all().await.into_iter().flatten().enumerate() {
        assert_eq!(heard, status, "key {key}");
    }
}

async fn answers(gateway: SocketAddr, account: String, customers: Vec<String>) -> Vec<u16> {
    let mut wire = Wire::open(gateway).await;
    let mut statuses = Vec::with_capacity(customers.len());
    for customer in &customers {
        let keys = Keys {
            account: &account,
            customer,
        };
        statuses.push(wire.call(keys).await.status);
    }
    statuses
}
