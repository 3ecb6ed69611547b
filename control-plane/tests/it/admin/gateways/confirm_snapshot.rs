//! `POST /admin/gateways/{gateway_id}/confirm-snapshot`

use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use crate::admin::Door;
use crate::gateway::{Gateway, hello};
use crate::plane::{Answer, Plane};

async fn confirm(plane: &Plane, gateway: &str, body: Value) -> Answer {
    let path = format!("/admin/gateways/{gateway}/confirm-snapshot");
    plane.admin("POST", path).json(&body).send_among_gateways().await
}

async fn shown(plane: &Plane, gateway: &str) -> Value {
    let told = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    let gateways = told["gateways"].as_array().unwrap().iter();
    let mut named = gateways.filter(|shown| shown["gateway_id"] == gateway);
    named.next().unwrap().clone()
}

/// A gateway that holds the snapshot that it was sent, and is seen to.
async fn holding(plane: &Plane, id: &str) -> (Gateway, u64) {
    let gateway = Gateway::join(plane, hello(id, 1)).await.unwrap();
    let (revision, _) = gateway.snapshot();
    gateway.hold(revision, 120, 90).await;
    plane
        .eventually(async || shown(plane, id).await["state"] == "holding")
        .await;
    (gateway, revision)
}

#[tokio::test]
async fn a_held_snapshot_is_shown_and_sent_again_once_it_is_confirmed() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    let (gateway, revision) = holding(&plane, "edge-1").await;
    assert_eq!(
        shown(&plane, "edge-1").await["held_snapshot"],
        json!({"revision": revision, "held_keys": 120, "dropped_keys": 90})
    );
    // Nobody waits for what can't come: the gateway is named at once.
    let change = plane
        .admin("POST", "/admin/customers")
        .json(&json!({"company_name": "Uni", "contact_email": "it@uni.example", "tier": "growth"}))
        .send_among_gateways()
        .await
        .expect(201);
    assert_eq!(
        change.header("keyward-propagation"),
        Some("partial; gateways=0; missing=edge-1")
    );
    assert!(!gateway.is_confirmed());

    let answer = confirm(&plane, "edge-1", json!({"revision": revision})).await;
    assert_eq!(
        answer.expect(202).json(),
        json!({
            "message": "Snapshot confirmed", "gateway_id": "edge-1", "revision": revision, "held_keys": 120,
            "dropped_keys": 90,
        })
    );
    plane.eventually(async || gateway.is_confirmed()).await;
    plane
        .eventually(async || shown(&plane, "edge-1").await["state"] == "connected")
        .await;
    assert_eq!(shown(&plane, "edge-1").await["held_snapshot"], Value::Null);
    assert!(gateway.snapshot().0 > revision, "the newest state is sent");
    let event = plane
        .admin("GET", "/admin/audit?limit=1")
        .send()
        .await
        .expect(200)
        .json()["events"][0]
        .clone();
    assert_eq!(
        (&event["action"], &event["target"]),
        (
            &json!("snapshot.confirmed"),
            &json!({"kind": "gateway", "id": "edge-1"})
        )
    );
    // And what comes after it is acknowledged again.
    let after = plane
        .admin("POST", "/admin/customers")
        .json(&json!({"company_name": "School", "contact_email": "it@school.example", "tier": "growth"}))
        .send_among_gateways()
        .await
        .expect(201);
    assert_eq!(after.header("keyward-propagation"), Some("complete; gateways=1"));
}

#[tokio::test]
async fn only_what_is_held_can_be_confirmed() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    let unknown = confirm(&plane, "edge-1", json!({"revision": 1})).await;
    unknown.expect_error(404, "not_found");
    let quiet = Gateway::join(&plane, hello("edge-2", 1)).await.unwrap();
    let nothing = confirm(&plane, "edge-2", json!({"revision": quiet.snapshot().0})).await;
    let nothing = nothing.expect_error(409, "conflict").json();
    assert_eq!(nothing["message"], "the gateway holds no snapshot");
    let (gateway, revision) = holding(&plane, "edge-1").await;
    let other = confirm(&plane, "edge-1", json!({"revision": revision + 1})).await;
    let other = other.expect_error(409, "conflict").json();
    assert_eq!(
        other["message"],
        format!("the snapshot that the gateway holds is of revision {revision}")
    );
    assert!(!gateway.is_confirmed());
    for (body, message) in [
        (json!({}), "`revision` is required"),
        (
            json!({"revision": 0}),
            "`revision` must be a whole number, 1 or above",
        ),
        (
            json!({"revision": "1"}),
            "`revision` must be a whole number, zero or above",
        ),
    ] {
        let refused = confirm(&plane, "edge-1", body)
            .await
            .expect_error(400, "invalid_request");
        assert_eq!(refused.json()["message"], message);
    }
    // A gateway that is gone holds nothing.
    drop(gateway);
    plane
        .eventually(async || shown(&plane, "edge-1").await["state"] == "disconnected")
        .await;
    let gone = confirm(&plane, "edge-1", json!({"revision": revision})).await;
    gone.expect_error(409, "conflict");
}

#[tokio::test]
async fn a_snapshot_that_was_never_sent_can_not_be_held() {
    let plane = Plane::start().await;
    let gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    gateway.hold(1_000, 120, 90).await;
    assert_eq!(gateway.end().await.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "POST",
        path: "/admin/gateways/edge-1/confirm-snapshot",
        least: Role::Operator,
        allow: &["POST"],
    };
    door.opens_only_to_whom_it_should().await;
}
