//! `POST /admin/webhooks/{webhook_id}/rotate-secret`

use std::time::Duration;

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::{Hook, NOBODY, audited};
use crate::plane::Plane;
use crate::receiver::Receiver;

async fn rotate(plane: &Plane, hook: &Hook, body: &Value) -> Value {
    let path = format!("{}/rotate-secret", hook.path());
    plane
        .admin("POST", path)
        .json(body)
        .send()
        .await
        .expect(200)
        .json()
}

#[tokio::test]
async fn old_and_new_both_sign_until_the_grace_is_over() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let rotated = rotate(&plane, &hook, &json!({"grace_seconds": 600})).await;
    assert_json_snapshot!(rotated, {
        ".webhook_id" => "[id]", ".url" => "[url]", ".created_at" => "[at]", ".updated_at" => "[at]",
        ".previous_secret_expires_at" => "[at]", ".secret" => "[secret]",
    }, @r#"
    {
      "webhook_id": "[id]",
      "url": "[url]",
      "events": [
        "*"
      ],
      "description": null,
      "status": "active",
      "disabled_reason": null,
      "previous_secret_expires_at": "[at]",
      "created_at": "[at]",
      "updated_at": "[at]",
      "secret": "[secret]"
    }
    "#);
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, hook.secret);
    hook.test(&plane).await;
    let both = &receiver.wait_for(1).await[0];
    assert_eq!(both.header("webhook-signature").split(' ').count(), 2);
    assert_eq!(
        (both.signatures_under(&hook.secret), both.signatures_under(new)),
        (1, 1)
    );
    plane.advance(Duration::from_secs(601));
    hook.test(&plane).await;
    let one = &receiver.wait_for(2).await[1];
    assert_eq!(one.header("webhook-signature").split(' ').count(), 1);
    assert_eq!(
        (one.signatures_under(&hook.secret), one.signatures_under(new)),
        (0, 1)
    );
    assert_eq!(audited(&plane).await[2], "webhook.secret_rotated");
    let trail = plane.admin("GET", "/admin/audit").send().await.expect(200);
    assert!(!trail.text.contains(&new[6..]));
}

#[tokio::test]
async fn the_grace_is_a_day_when_nothing_is_said_and_may_be_none() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let path = format!("{}/rotate-secret", hook.path());
    let usual = plane.admin("POST", path).send().await.expect(200).json();
    assert!(usual["previous_secret_expires_at"].is_string());
    let none = rotate(&plane, &hook, &json!({"grace_seconds": 0})).await;
    assert_eq!(none["previous_secret_expires_at"], json!(null));
    hook.test(&plane).await;
    let sent = &receiver.wait_for(1).await[0];
    assert_eq!(sent.signatures_under(none["secret"].as_str().unwrap()), 1);
    assert_eq!(sent.header("webhook-signature").split(' ').count(), 1);
}

#[tokio::test]
async fn a_grace_out_of_range_is_400_and_what_is_not_there_404() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    for grace in [json!(604_801), json!(-1), json!("1"), json!(1.5)] {
        let path = format!("{}/rotate-secret", hook.path());
        let refused = plane
            .admin("POST", path)
            .json(&json!({"grace_seconds": grace}))
            .send()
            .await;
        refused.expect_error(400, "invalid_request");
    }
    let path = format!("/admin/webhooks/{NOBODY}/rotate-secret");
    plane
        .admin("POST", path)
        .send()
        .await
        .expect_error(404, "not_found");
}
