//! `POST /admin/gateways/{gateway_id}/tokens`

use keyward_contract::{KeyKind, PlainKey};
use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::TOKENS;
use crate::admin::{Door, leads_nowhere};
use crate::plane::Plane;

#[tokio::test]
async fn a_token_is_shown_once_and_only_its_digest_is_kept() {
    let plane = Plane::start().await;
    let wanted = json!({"name": "autumn", "expires_at": "2099-12-31"});
    let made = plane
        .admin("POST", TOKENS)
        .json(&wanted)
        .send()
        .await
        .expect(201)
        .json();
    let text = made["token"].as_str().unwrap();
    let token = PlainKey::parse(text).unwrap();
    assert_eq!(token.shape().kind, KeyKind::Gateway);
    let kept = json!({
        "token_id": made["token_id"], "gateway_id": "edge-1", "name": "autumn", "mask": token.mask().as_str(),
        "created_at": made["created_at"], "expires_at": "2099-12-31T00:00:00Z", "last_used_at": null,
    });
    let list = plane.admin("GET", TOKENS).send().await.expect(200);
    assert_eq!(list.json(), json!({"tokens": [kept]}));
    let digest = plane.running.registry().digest(text);
    let (stored,): (Vec<u8>,) = sqlx::query_as("SELECT digest FROM gateway_tokens")
        .fetch_one(plane.running.registry().store.readers())
        .await
        .unwrap();
    assert_eq!(stored, digest.as_bytes());
    let trail = plane.admin("GET", "/admin/audit").send().await.expect(200);
    assert!(trail.text.contains("gateway_token.created") && !trail.text.contains(text));
}

#[tokio::test]
async fn everything_may_be_left_out() {
    let plane = Plane::start().await;
    let made = plane.admin("POST", TOKENS).send().await.expect(201).json();
    assert_eq!((&made["name"], &made["expires_at"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn a_field_that_breaks_a_rule_is_named() {
    let plane = Plane::start().await;
    for (body, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(101)}), "name"),
        (json!({"expires_at": "2020-01-01"}), "expires_at"),
        (json!({"expires_at": "soon"}), "expires_at"),
        (json!({"expires_at": 5}), "expires_at"),
    ] {
        let refused = plane.admin("POST", TOKENS).json(&body).send().await;
        let refused = refused.expect_error(400, "invalid_request").json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{body}: {message}");
    }
    leads_nowhere(&plane, "POST", &["/admin/gateways/a%20b/tokens".to_owned()]).await;
}

#[tokio::test]
async fn a_gateway_has_at_most_sixteen_that_live() {
    let plane = Plane::start().await;
    let mut first = None;
    for _ in 0..16 {
        let made = plane.admin("POST", TOKENS).send().await.expect(201).json();
        first.get_or_insert(made["token_id"].as_str().unwrap().to_owned());
    }
    plane
        .admin("POST", TOKENS)
        .send()
        .await
        .expect_error(409, "conflict");
    plane
        .admin("POST", "/admin/gateways/edge-2/tokens")
        .send()
        .await
        .expect(201);
    let path = format!("{TOKENS}/{}", first.unwrap());
    plane.admin("DELETE", path).send().await.expect(204);
    plane.admin("POST", TOKENS).send().await.expect(201);
}

fn door() -> Door<'static> {
    Door {
        method: "POST",
        path: TOKENS,
        least: Role::Operator,
        allow: &["GET", "HEAD", "POST"],
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
