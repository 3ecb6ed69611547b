//! Operators see on the control plane's own page how long changes take to be in force, and on how many gateways.

use keyward_harness::{Standalone, eventually, metric};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::Api;
use crate::stack::{Plan, SOON, Stack, page};

const PROPAGATION: &str = "keyward_revocation_propagation_seconds_count";

#[tokio::test]
async fn every_change_is_measured_until_all_gateways_have_it_in_force() {
    let plan = Plan {
        gateways: 2,
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let account = stack.account().await;
    let complete = async || {
        let metrics = stack.control_plane_metrics().await;
        metric(&metrics, PROPAGATION, &["result=\"complete\""]).unwrap_or_default()
    };
    let before = complete().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    let path = format!("/customers/{}", customer.id);
    let renamed = json!({ "name": "Acme University" });
    stack
        .portal(&account.key, Method::PATCH, &path, renamed)
        .await
        .expect(200);
    stack
        .portal(&account.key, Method::DELETE, &path, Value::Null)
        .await
        .expect(204);
    let measured = complete().await - before;
    assert!((measured - 3.0).abs() < 0.5, "{measured} of 3 changes");
    let metrics = stack.control_plane_metrics().await;
    assert_eq!(
        metric(&metrics, "keyward_sync_gateways", &[]),
        Some(2.0),
        "{metrics}"
    );
}

#[tokio::test]
async fn standalone_shows_both_programs_metrics_each_on_its_own_page() {
    let standalone = Standalone::start().await.unwrap();
    let (addresses, demo) = (standalone.addresses(), standalone.demo().unwrap());
    Api::new(addresses.control_plane.as_str())
        .customer(&demo.production.account_key, "Acme")
        .await;
    let gateway = page(&format!("{}/metrics", addresses.gateway_admin)).await;
    let shown = eventually(SOON, || async {
        let control_plane = page(&format!("{}/metrics", addresses.control_plane_admin)).await;
        anyhow::ensure!(
            metric(&control_plane, PROPAGATION, &[]) >= Some(1.0),
            "{control_plane}"
        );
        Ok(control_plane)
    });
    let control_plane = shown.await.unwrap();
    assert!(
        metric(&gateway, "keyward_sync_changes_total", &[]) >= Some(1.0),
        "{gateway}"
    );
    assert_eq!(metric(&gateway, PROPAGATION, &[]), None);
    assert_eq!(metric(&control_plane, "keyward_requests_total", &[]), None);
}
