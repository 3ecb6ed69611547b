//! `PUT` and `PATCH /admin/webhooks/{webhook_id}`

use insta::assert_json_snapshot;
use serde_json::json;

use super::{Hook, NOBODY, audited};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn only_what_is_given_changes() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let change = json!({"url": "https://example.com/x", "events": ["quota.80"], "description": "Ops"});
    let changed = plane
        .admin("PUT", hook.path())
        .json(&change)
        .send()
        .await
        .expect(200)
        .json();
    assert_json_snapshot!(changed, {
        ".webhook_id" => "[id]", ".created_at" => "[at]", ".updated_at" => "[at]",
    }, @r#"
    {
      "webhook_id": "[id]",
      "url": "https://example.com/x",
      "events": [
        "quota.80"
      ],
      "description": "Ops",
      "status": "active",
      "disabled_reason": null,
      "previous_secret_expires_at": null,
      "created_at": "[at]",
      "updated_at": "[at]"
    }
    "#);
    let off = json!({"status": "disabled", "description": null});
    let off = plane
        .admin("PATCH", hook.path())
        .json(&off)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            &off["status"],
            &off["disabled_reason"],
            &off["description"],
            &off["url"]
        ),
        (
            &json!("disabled"),
            &json!("operator"),
            &json!(null),
            &changed["url"]
        )
    );
    // Nothing to do is no change, and no row.
    plane
        .admin("PATCH", hook.path())
        .json(&json!({}))
        .send()
        .await
        .expect(200);
    assert_eq!(
        audited(&plane).await,
        ["webhook.updated", "webhook.updated", "webhook.created"]
    );
    let shown = plane.admin("GET", hook.path()).send().await.expect(200).json();
    assert_eq!(shown, off);
}

#[tokio::test]
async fn a_disabled_webhook_is_told_nothing_until_it_is_active_again() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["customer.created"]).await;
    let status = async |status: &str| {
        let body = json!({"status": status});
        plane
            .admin("PATCH", hook.path())
            .json(&body)
            .send()
            .await
            .expect(200);
    };
    status("disabled").await;
    plane.company("Unheard").await;
    status("active").await;
    plane.company("Heard").await;
    let received = receiver.wait_for(1).await;
    assert_eq!(received[0].json()["data"]["company_name"], "Heard");
    assert_eq!(hook.deliveries(&plane, "").await.len(), 1);
}

#[tokio::test]
async fn what_breaks_a_rule_is_400_and_what_is_not_there_404() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    for body in [
        json!({"url": null}),
        json!({"url": "ftp://example.com"}),
        json!({"events": null}),
        json!({"events": []}),
        json!({"status": "gone"}),
        json!({"status": null}),
        json!({"description": 1}),
    ] {
        let refused = plane.admin("PUT", hook.path()).json(&body).send().await;
        refused.expect_error(400, "invalid_request");
    }
    let missing = plane
        .admin("PUT", format!("/admin/webhooks/{NOBODY}"))
        .json(&json!({}))
        .send()
        .await;
    missing.expect_error(404, "not_found");
}
