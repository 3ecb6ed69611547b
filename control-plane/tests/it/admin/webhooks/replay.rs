//! `POST /admin/webhooks/{webhook_id}/deliveries/{delivery_id}/replay`

use std::time::Duration;

use serde_json::json;

use super::{Hook, NOBODY, audited};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn a_delivery_is_replayed_under_its_id_whatever_came_of_it() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let id = hook.test(&plane).await["delivery_id"]
        .as_str()
        .unwrap()
        .to_owned();
    hook.settles(&plane, "delivered", 1).await;
    let replay = || {
        let path = format!("{}/deliveries/{id}/replay", hook.path());
        plane.admin("POST", path).send()
    };
    let replayed = replay().await.expect(202).json();
    assert_eq!(
        (&replayed["state"], &replayed["delivery_id"]),
        (&json!("pending"), &json!(id))
    );
    assert!(replayed["next_attempt_at"].is_string());
    hook.settles(&plane, "delivered", 2).await;
    // One that was given up gets a day again.
    receiver.answer(500);
    replay().await.expect(202);
    hook.settles(&plane, "pending", 3).await;
    plane.advance(Duration::from_secs(25 * 3_600));
    plane
        .eventually(async || hook.deliveries(&plane, "state=failed").await.len() == 1)
        .await;
    let failed = hook.deliveries(&plane, "").await[0]["attempts"]
        .as_array()
        .unwrap()
        .len();
    receiver.answer(204);
    replay().await.expect(202);
    let last = hook.settles(&plane, "delivered", failed + 1).await;
    assert_eq!(last["attempts"][failed]["status"], 204);
    let received = receiver.received();
    assert!(
        received
            .iter()
            .all(|one| one.id() == received[0].id() && one.body == received[0].body)
    );
    assert_eq!(
        audited(&plane)
            .await
            .iter()
            .filter(|action| *action == "webhook.replayed")
            .count(),
        3
    );
}

#[tokio::test]
async fn nothing_is_replayed_to_a_disabled_webhook_and_nothing_that_is_not_there() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let id = hook.test(&plane).await["delivery_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let replay = async |path: String, id: &str| {
        plane
            .admin("POST", format!("{path}/deliveries/{id}/replay"))
            .send()
            .await
    };
    replay(hook.path(), NOBODY).await.expect_error(404, "not_found");
    let other = Hook::at(&plane, &receiver, &["*"]).await;
    replay(other.path(), &id).await.expect_error(404, "not_found");
    replay(format!("/admin/webhooks/{NOBODY}"), &id)
        .await
        .expect_error(404, "not_found");
    let off = json!({"status": "disabled"});
    plane
        .admin("PUT", hook.path())
        .json(&off)
        .send()
        .await
        .expect(200);
    replay(hook.path(), &id).await.expect_error(409, "conflict");
}
