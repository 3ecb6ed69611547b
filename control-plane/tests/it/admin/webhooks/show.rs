//! `GET /admin/webhooks/{webhook_id}`

use serde_json::json;

use super::{Hook, NOBODY};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn a_webhook_is_shown_without_its_secret() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let shown = plane.admin("GET", hook.path()).send().await.expect(200).json();
    let expected = json!({
        "webhook_id": hook.id, "url": receiver.url, "events": ["*"], "description": null, "status": "active",
        "disabled_reason": null, "previous_secret_expires_at": null,
        "created_at": shown["created_at"], "updated_at": shown["created_at"],
    });
    assert_eq!(shown, expected);
    for nobody in [NOBODY, "not-a-uuid", "0190b5f2e5f07c9a8d1e2f3a4b5c6d7e"] {
        let missing = plane
            .admin("GET", format!("/admin/webhooks/{nobody}"))
            .send()
            .await;
        missing.expect_error(404, "not_found");
    }
}
