//! Reloads and upgrades lose no call and no WebSocket, as `make lifecycle-bench` measures it, only less of it.

use std::time::Duration;

use keyward_loadtest::lifecycle::{Plan, Wire, run};

use crate::fleet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_no_websocket_is_lost_over_reloads_and_upgrades() {
    let _alone = fleet::alone().await;
    let plan = Plan {
        per_second: 300,
        connections: 8,
        reloads: 15,
        reload_every: Duration::ZERO,
        upgrades: 3,
        upgrade_every: Duration::ZERO,
        sockets: 4,
        idle: 500,
        wires: &[Wire::Clear, Wire::Tls],
    };
    let report = run(plan).await.unwrap();
    report.verdict().unwrap();
    assert!(report.calls() > 20, "{report}");
    // Beyond any doubt, whatever else the process does meanwhile; the figure itself is the benchmark's.
    assert_eq!(report.idle().len(), 2, "{report}");
    assert!(
        report.idle().iter().all(|(_, bytes)| *bytes < 64 * 1024),
        "{report}"
    );
}
