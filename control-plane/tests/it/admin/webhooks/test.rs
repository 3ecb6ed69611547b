//! `POST /admin/webhooks/{webhook_id}/test`

use insta::assert_json_snapshot;
use serde_json::json;

use super::{Hook, NOBODY, audited};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn a_test_goes_to_its_webhook_alone() {
    let plane = Plane::start().await;
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["quota.80"]).await;
    let bystander = Hook::at(&plane, &other, &["*"]).await;
    let sent = hook.test(&plane).await;
    assert_json_snapshot!(sent, {
        ".delivery_id" => "[id]", ".message_id" => "[id]", ".created_at" => "[at]", ".next_attempt_at" => "[at]",
    }, @r#"
    {
      "delivery_id": "[id]",
      "message_id": "[id]",
      "event": "webhook.test",
      "state": "pending",
      "created_at": "[at]",
      "next_attempt_at": "[at]",
      "attempts": []
    }
    "#);
    let received = &receiver.wait_for(1).await[0];
    assert_eq!(
        (received.path.as_str(), received.id()),
        ("/in", sent["message_id"].as_str().unwrap())
    );
    assert_eq!(received.json()["data"], json!({"webhook_id": hook.id}));
    assert!(bystander.deliveries(&plane, "").await.is_empty());
    assert_eq!(audited(&plane).await[0], "webhook.tested");
}

#[tokio::test]
async fn a_disabled_webhook_is_409_and_what_is_not_there_404() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let off = json!({"status": "disabled"});
    plane
        .admin("PUT", hook.path())
        .json(&off)
        .send()
        .await
        .expect(200);
    let path = format!("{}/test", hook.path());
    plane
        .admin("POST", path)
        .send()
        .await
        .expect_error(409, "conflict");
    let path = format!("/admin/webhooks/{NOBODY}/test");
    plane
        .admin("POST", path)
        .send()
        .await
        .expect_error(404, "not_found");
}
