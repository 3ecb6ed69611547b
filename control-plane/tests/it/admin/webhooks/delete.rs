//! `DELETE /admin/webhooks/{webhook_id}`

use serde_json::json;

use super::{Hook, audited};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn a_deleted_webhook_is_gone_with_its_deliveries_and_told_nothing_more() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    receiver.answer(500);
    hook.test(&plane).await;
    hook.settles(&plane, "pending", 1).await;
    let deleted = plane.admin("DELETE", hook.path()).send().await.expect(200).json();
    let expected =
        json!({"message": "Webhook deleted successfully", "webhook_id": hook.id, "status": "deleted"});
    assert_eq!(deleted, expected);
    for (method, path) in [
        ("GET", hook.path()),
        ("DELETE", hook.path()),
        ("GET", format!("{}/deliveries", hook.path())),
    ] {
        plane
            .admin(method, path)
            .send()
            .await
            .expect_error(404, "not_found");
    }
    assert_eq!(
        audited(&plane).await,
        ["webhook.deleted", "webhook.tested", "webhook.created"]
    );
    // A webhook that is told after it shows that the deleted one would have been.
    let other = Receiver::start().await;
    Hook::at(&plane, &other, &["customer.created"]).await;
    plane.company("Acme").await;
    other.wait_for(1).await;
    assert_eq!(receiver.received().len(), 1);
}
