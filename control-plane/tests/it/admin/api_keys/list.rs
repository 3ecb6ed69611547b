//! `GET /admin/customers/{customer_id}/api-keys`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::{keys, one};
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn active_and_dead_keys_are_listed_newest_first_and_no_customer_keys() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    plane.customer(&company.live, "Uni").await;
    let newest = plane.account_key(&company.id, &json!({"name": "ci"})).await;
    plane
        .admin("DELETE", one(&company, &newest))
        .send()
        .await
        .expect(200);
    let listed = plane.admin("GET", keys(&company)).send().await.expect(200);
    assert!(!listed.text.contains("ck_") && !listed.text.contains("\"api_key\""));
    let listed = listed.json();
    let shown: Vec<_> = listed["api_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (&key["name"], &key["environment"], &key["status"]))
        .collect();
    let (null, live, test) = (json!(null), json!("production"), json!("test"));
    let (ci, active, revoked) = (json!("ci"), json!("active"), json!("revoked"));
    let expected = [
        (&ci, &live, &revoked),
        (&null, &test, &active),
        (&null, &live, &active),
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn the_keys_of_nobody_are_404() {
    let plane = Plane::start().await;
    let paths = [crate::admin::NOBODY, "x"].map(|id| format!("/admin/customers/{id}/api-keys"));
    crate::admin::leads_nowhere(&plane, "GET", &paths).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/api-keys",
        least: Role::Viewer,
        allow: &["GET", "HEAD", "POST"],
    }
}
