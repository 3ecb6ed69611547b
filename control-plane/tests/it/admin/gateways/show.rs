//! `GET /admin/gateways/{gateway_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::admin::{Door, leads_nowhere};
use crate::gateway::{Gateway, hello};
use crate::plane::Plane;

#[tokio::test]
async fn a_gateway_is_shown_when_it_was_seen_or_spoken_of() {
    let plane = Plane::start().await;
    let show = async |id: &str| {
        let shown = plane.admin("GET", format!("/admin/gateways/{id}")).send().await;
        shown.expect(200).json()
    };
    let _gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    let mut seen = show("edge-1").await;
    let status = seen["status"].take();
    assert_eq!(status["state"], "connected");
    assert_eq!(status["address"], "192.0.2.1:8080");
    let unsaid = json!({
        "gateway_id": "edge-1", "blocked": false, "scope": null, "updated_at": null, "status": null,
    });
    assert_eq!(seen, unsaid);
    // One that is only spoken of: by its settings, or by a token.
    let said = plane
        .admin("PUT", "/admin/gateways/edge-2")
        .json(&json!({"blocked": true}));
    said.send_among_gateways().await.expect(200);
    let said = show("edge-2").await;
    assert_eq!((&said["blocked"], &said["status"]), (&json!(true), &json!(null)));
    let made = plane.admin("POST", "/admin/gateways/edge-3/tokens");
    made.send_among_gateways().await.expect(201);
    assert_eq!(show("edge-3").await["updated_at"], json!(null));
}

#[tokio::test]
async fn nobodys_gateway_is_404() {
    let plane = Plane::start().await;
    let long = format!("/admin/gateways/{}", "x".repeat(65));
    let paths = [
        "/admin/gateways/nobody".to_owned(),
        "/admin/gateways/a%20b".to_owned(),
        long,
    ];
    leads_nowhere(&plane, "GET", &paths).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "GET",
        path: "/admin/gateways/edge-1",
        least: Role::Viewer,
        allow: &["GET", "HEAD", "PUT"],
    };
    door.opens_only_to_whom_it_should().await;
}
