//! `PUT /admin/gateways/{gateway_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use crate::admin::{Door, NOBODY, leads_nowhere};
use crate::plane::Plane;

async fn put(plane: &Plane, body: Value) -> Value {
    let put = plane.admin("PUT", "/admin/gateways/edge-1").json(&body);
    let mut now = put.send().await.expect(200).json();
    now["updated_at"].take();
    now
}

#[tokio::test]
async fn what_is_given_changes_and_the_rest_stays() {
    let plane = Plane::start().await;
    let (one, other) = (plane.company("One").await.id, plane.company("Other").await.id);
    let now = |blocked: bool, scope: Value| json!({"gateway_id": "edge-1", "blocked": blocked, "scope": scope, "updated_at": null, "status": null});
    assert_eq!(
        put(&plane, json!({"blocked": true})).await,
        now(true, json!(null))
    );
    let mut both = [one.clone(), other.clone()];
    both.sort();
    let scope = json!({"accounts": both, "environment": null});
    assert_eq!(
        put(&plane, json!({"accounts": [other, one]})).await,
        now(true, scope)
    );
    let scope = json!({"accounts": both, "environment": "test"});
    assert_eq!(
        put(&plane, json!({"environment": "test"})).await,
        now(true, scope)
    );
    let nothing = json!({"accounts": [], "environment": null, "blocked": false});
    let scope = json!({"accounts": [], "environment": null});
    assert_eq!(put(&plane, nothing).await, now(false, scope));
    assert_eq!(
        put(&plane, json!({"accounts": null})).await,
        now(false, json!(null))
    );
}

#[tokio::test]
async fn every_change_is_audited_and_a_repeat_is_none() {
    let plane = Plane::start().await;
    for _ in 0..2 {
        put(&plane, json!({"blocked": true})).await;
    }
    let trail = plane
        .admin("GET", "/admin/audit?action=gateway.updated")
        .send()
        .await;
    let trail = trail.expect(200).json();
    let events = trail["events"].as_array().unwrap();
    assert_eq!(events.len(), 1, "{trail}");
    assert_eq!(events[0]["target"], json!({"kind": "gateway", "id": "edge-1"}));
    let said = |blocked: bool| json!({"blocked": blocked, "accounts": null, "environment": null});
    assert_eq!(
        (&events[0]["before"], &events[0]["after"]),
        (&said(false), &said(true))
    );
}

#[tokio::test]
async fn a_field_that_breaks_a_rule_is_named() {
    let plane = Plane::start().await;
    for (body, field) in [
        (json!({"blocked": null}), "blocked"),
        (json!({"blocked": "yes"}), "blocked"),
        (json!({"environment": "staging"}), "environment"),
        (json!({"accounts": ["x"]}), "accounts"),
        (json!({"accounts": NOBODY}), "accounts"),
    ] {
        let refused = plane
            .admin("PUT", "/admin/gateways/edge-1")
            .json(&body)
            .send()
            .await;
        let refused = refused.expect_error(400, "invalid_request").json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{body}: {message}");
    }
}

#[tokio::test]
async fn a_customer_that_is_not_there_is_404_and_changes_nothing() {
    let plane = Plane::start().await;
    let body = json!({"accounts": [NOBODY]});
    let refused = plane
        .admin("PUT", "/admin/gateways/edge-1")
        .json(&body)
        .send()
        .await;
    refused.expect(404);
    let settings = plane.admin("GET", "/admin/gateways/edge-1").send().await;
    assert_eq!(settings.status, 404);
}

#[tokio::test]
async fn a_name_that_no_gateway_can_have_is_404() {
    let plane = Plane::start().await;
    leads_nowhere(&plane, "PUT", &["/admin/gateways/a%2Fb".to_owned()]).await;
}

fn door() -> Door<'static> {
    Door {
        method: "PUT",
        path: "/admin/gateways/edge-1",
        least: Role::Operator,
        allow: &["GET", "HEAD", "PUT"],
    }
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_takes_only_plain_json() {
    door().takes_only_plain_json().await;
}
