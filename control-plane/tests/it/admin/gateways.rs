//! `GET /admin/gateways`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::admin::Door;
use crate::plane::Plane;

mod confirm_snapshot;

#[tokio::test]
async fn gateways_are_shown_against_the_newest_revision() {
    let plane = Plane::start().await;
    let before = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    plane.company("Acme").await;
    let after = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(after["gateways"], json!([]));
    // Two changes were made: the account, and its test key.
    assert_eq!(
        after["revision"].as_u64().unwrap(),
        before["revision"].as_u64().unwrap() + 2
    );
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/gateways",
        least: Role::Viewer,
        allow: &["GET", "HEAD"],
    }
}
