//! `GET /admin/webhooks/{webhook_id}/deliveries/{delivery_id}`

use insta::assert_json_snapshot;

use super::{Hook, NOBODY};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn a_delivery_is_shown_with_what_was_sent() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let id = hook.test(&plane).await["delivery_id"]
        .as_str()
        .unwrap()
        .to_owned();
    hook.settles(&plane, "delivered", 1).await;
    let path = format!("{}/deliveries/{id}", hook.path());
    let shown = plane.admin("GET", path).send().await.expect(200).json();
    assert_json_snapshot!(shown, {
        ".delivery_id" => "[id]", ".message_id" => "[id]", ".created_at" => "[at]",
        ".attempts[].at" => "[at]", ".attempts[].duration_ms" => "[ms]",
        ".payload.timestamp" => "[at]", ".payload.data.webhook_id" => "[id]",
    }, @r#"
    {
      "delivery_id": "[id]",
      "message_id": "[id]",
      "event": "webhook.test",
      "state": "delivered",
      "created_at": "[at]",
      "next_attempt_at": null,
      "attempts": [
        {
          "at": "[at]",
          "duration_ms": "[ms]",
          "status": 200,
          "error": null
        }
      ],
      "payload": {
        "type": "webhook.test",
        "timestamp": "[at]",
        "data": {
          "webhook_id": "[id]"
        }
      }
    }
    "#);
    assert_eq!(shown["payload"], receiver.received()[0].json());
    let other = Hook::at(&plane, &receiver, &["*"]).await;
    for path in [
        format!("{}/deliveries/{NOBODY}", hook.path()),
        format!("{}/deliveries/{id}", other.path()),
        format!("{}/deliveries/x", hook.path()),
    ] {
        plane
            .admin("GET", path)
            .send()
            .await
            .expect_error(404, "not_found");
    }
}
