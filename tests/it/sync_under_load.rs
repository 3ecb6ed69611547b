//! What `make sync-bench` measures, in small: only what is promised of any machine is judged here, no time.

use std::time::Duration;

use keyward_benches::sync::{fan_out, pair, propagation, simulated};
use keyward_contract::UnixMillis;
use keyward_control_plane::store::Store;
use keyward_loadtest::replicas::Held;
use reqwest::Method;
use serde_json::Value;

use crate::stack::{SOON, Stack};

/// Three gateways, every way in which rights end, and an open load whose calls are due whether gateways are slow or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_complete_not_one_call_is_accepted_whatever_ended_the_key() {
    let plan = propagation::Plan {
        gateways: 3,
        revocations: 16,
        per_second: 600,
    };
    let part = propagation::measure(plan).await.unwrap();
    assert!(!part.is_broken(), "{}", part.table());
}

/// Three seconds are promised of a machine that does nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_control_planes_either_may_die_and_every_gateway_ends_with_what_the_database_holds() {
    let plan = pair::Plan {
        lasts: Duration::from_secs(4),
        kills: 2,
        moved_within: Duration::from_secs(20),
    };
    let part = pair::measure(plan).await.unwrap();
    assert!(!part.is_broken(), "{}", part.table());
}

/// They get every change in its order, with one among them that takes nothing more, and come back to a control plane that
/// was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_gateways_skip_no_change_beside_a_stuck_one_and_over_a_restart() {
    let plan = fan_out::Plan {
        gateways: 40,
        changes: 20,
        lasts: Duration::from_secs(2),
    };
    let part = fan_out::measure(plan, "SQLite", None).await.unwrap();
    assert!(!part.is_broken(), "{}", part.table());
}

/// What the test of two control planes relies on.
#[tokio::test]
async fn a_replica_that_lacks_one_change_is_told_from_its_database() {
    let stack = Stack::start().await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let file = stack.control_plane.folder().join("control-plane.db");
    let store = Store::open(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    stack.gateways[0].stop(SOON).await.unwrap();
    let replica = stack.folder().join("edge-1").join("replica");
    let differences = async || {
        let held = Held::by(&store, UnixMillis(simulated::now_ms())).await.unwrap();
        held.differences(&replica).unwrap()
    };
    assert_eq!(differences().await, Vec::<String>::new());
    let path = format!("/customers/{}", customer.id);
    stack
        .portal(&account.key, Method::DELETE, &path, Value::Null)
        .await
        .expect(204);
    let found = differences().await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("revision") && found[1].contains("Deleted"),
        "{found:?}"
    );
}
