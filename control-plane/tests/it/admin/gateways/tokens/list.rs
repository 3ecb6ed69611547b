//! `GET /admin/gateways/{gateway_id}/tokens`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::TOKENS;
use crate::admin::{Door, leads_nowhere};
use crate::plane::Plane;

#[tokio::test]
async fn tokens_are_listed_newest_first_without_their_texts() {
    let plane = Plane::start().await;
    let mut names = Vec::new();
    for name in ["first", "second"] {
        let made = plane
            .admin("POST", TOKENS)
            .json(&json!({"name": name}))
            .send()
            .await;
        let made = made.expect(201).json();
        names.insert(0, name);
        let list = plane.admin("GET", TOKENS).send().await.expect(200);
        assert!(!list.text.contains(made["token"].as_str().unwrap()));
        let list = list.json();
        let listed = list["tokens"].as_array().unwrap().iter();
        let listed: Vec<_> = listed.map(|token| token["name"].as_str().unwrap()).collect();
        assert_eq!(listed, names);
    }
    let none = plane.admin("GET", "/admin/gateways/edge-2/tokens").send().await;
    assert_eq!(none.expect(200).json(), json!({"tokens": []}));
    leads_nowhere(&plane, "GET", &["/admin/gateways/a%20b/tokens".to_owned()]).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "GET",
        path: TOKENS,
        least: Role::Viewer,
        allow: &["GET", "HEAD", "POST"],
    };
    door.opens_only_to_whom_it_should().await;
}
