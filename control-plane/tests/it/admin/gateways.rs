//! `/admin/gateways`; here `GET /admin/gateways`.

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::admin::Door;
use crate::gateway::{Gateway, hello};
use crate::plane::Plane;

mod confirm_snapshot;
mod show;
mod tokens;
mod update;

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
async fn what_operators_say_of_a_gateway_is_shown_with_it() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let wanted = json!({"accounts": [company.id], "environment": "test"});
    let said = plane.admin("PUT", "/admin/gateways/edge-1").json(&wanted);
    said.send().await.expect(200);
    let _gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    let list = plane.admin("GET", "/admin/gateways").send().await.expect(200);
    let list = list.json();
    let shown = &list["gateways"][0];
    assert_eq!(shown["gateway_id"], "edge-1");
    assert_eq!((&shown["blocked"], &shown["scope"]), (&json!(false), &wanted));
    assert_eq!(shown["version"], "1.2.3");
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
