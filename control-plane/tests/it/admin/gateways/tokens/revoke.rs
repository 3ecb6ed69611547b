//! `DELETE /admin/gateways/{gateway_id}/tokens/{token_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::TOKENS;
use crate::admin::{Door, NOBODY, leads_nowhere};
use crate::plane::Plane;

#[tokio::test]
async fn a_deleted_token_is_listed_no_more_and_a_repeat_answers_the_same() {
    let plane = Plane::start().await;
    let made = plane.admin("POST", TOKENS).send().await.expect(201).json();
    let path = format!("{TOKENS}/{}", made["token_id"].as_str().unwrap());
    for _ in 0..2 {
        plane.admin("DELETE", &path).send().await.expect(204);
    }
    let list = plane.admin("GET", TOKENS).send().await.expect(200);
    assert_eq!(list.json(), json!({"tokens": []}));
    let trail = plane
        .admin("GET", "/admin/audit?action=gateway_token.revoked")
        .send()
        .await;
    assert_eq!(trail.expect(200).json()["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nobodys_token_and_another_gateways_are_404() {
    let plane = Plane::start().await;
    let made = plane.admin("POST", TOKENS).send().await.expect(201).json();
    let others = format!(
        "/admin/gateways/edge-2/tokens/{}",
        made["token_id"].as_str().unwrap()
    );
    let paths = [format!("{TOKENS}/{NOBODY}"), format!("{TOKENS}/x"), others];
    leads_nowhere(&plane, "DELETE", &paths).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "DELETE",
        path: "/admin/gateways/edge-1/tokens/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Operator,
        allow: &["DELETE"],
    };
    door.opens_only_to_whom_it_should().await;
}
