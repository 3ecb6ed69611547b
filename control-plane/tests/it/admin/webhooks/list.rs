//! `GET /admin/webhooks`

use insta::assert_json_snapshot;
use serde_json::json;

use super::Hook;
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn every_webhook_is_listed_newest_first_without_its_secret() {
    let plane = Plane::start().await;
    let empty = plane
        .admin("GET", "/admin/webhooks")
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(empty, json!({"webhooks": []}));
    let receiver = Receiver::start().await;
    Hook::at(&plane, &receiver, &["key.created"]).await;
    Hook::at(&plane, &receiver, &["*"]).await;
    let listed = plane
        .admin("GET", "/admin/webhooks")
        .send()
        .await
        .expect(200)
        .json();
    assert_json_snapshot!(listed, {
        ".webhooks[].webhook_id" => "[id]", ".webhooks[].url" => "[url]",
        ".webhooks[].created_at" => "[at]", ".webhooks[].updated_at" => "[at]",
    }, @r#"
    {
      "webhooks": [
        {
          "webhook_id": "[id]",
          "url": "[url]",
          "events": [
            "*"
          ],
          "description": null,
          "status": "active",
          "disabled_reason": null,
          "previous_secret_expires_at": null,
          "created_at": "[at]",
          "updated_at": "[at]"
        },
        {
          "webhook_id": "[id]",
          "url": "[url]",
          "events": [
            "key.created"
          ],
          "description": null,
          "status": "active",
          "disabled_reason": null,
          "previous_secret_expires_at": null,
          "created_at": "[at]",
          "updated_at": "[at]"
        }
      ]
    }
    "#);
}
