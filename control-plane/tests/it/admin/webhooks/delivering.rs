//! What is promised of deliveries: signed, tried until taken, at least once, no endpoint delayed by another.

use std::collections::HashSet;
use std::time::Duration;

use keyward_contract::UnixMillis;
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::{Actor, webhooks};
use keyward_control_plane::store::webhooks::attempts;
use serde_json::{Value, json};

use super::{Hook, audited};
use crate::plane::{Plane, config};
use crate::receiver::Receiver;

#[tokio::test]
async fn a_message_is_signed_under_the_secret_that_was_shown() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["customer.created"]).await;
    let company = plane.company("Acme").await;
    let received = &receiver.wait_for(1).await[0];
    assert_eq!(received.signatures_under(&hook.secret), 1);
    assert_eq!(received.header("content-type"), "application/json");
    let sent: i64 = received.header("webhook-timestamp").parse().unwrap();
    let now = plane.running.registry().clock.now().0 / 1_000;
    assert!((now - 60..=now).contains(&sent), "{sent} is not now, {now}");
    let message = received.json();
    assert_eq!(message["data"]["customer_id"], company.id.as_str());
    let fields: Vec<_> = message.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["type", "timestamp", "data"]);
}

#[tokio::test]
async fn what_fails_is_tried_again_with_growing_pauses_under_the_same_id() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    // A redirect is a failure: it is not followed.
    receiver.answer_next(&[500, 302, 404, 429]);
    hook.test(&plane).await;
    let mut pause = 0;
    for attempts in 1..=4 {
        let tried = hook.settles(&plane, "pending", attempts).await;
        let at = |value: &Value| {
            value
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
                .as_millisecond()
        };
        let next = at(&tried["next_attempt_at"]) - at(&tried["attempts"][attempts - 1]["at"]);
        assert!(next > pause && next < 200_000, "{pause} ms, then {next} ms");
        pause = next;
        plane.advance(Duration::from_millis(u64::try_from(next).unwrap()));
    }
    let done = hook.settles(&plane, "delivered", 5).await;
    let statuses: Vec<_> = done["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["status"].clone())
        .collect();
    assert_eq!(statuses, [500, 302, 404, 429, 200]);
    let received = receiver.received();
    assert_eq!(received.len(), 5);
    assert!(
        received
            .iter()
            .all(|one| one.id() == received[0].id() && one.body == received[0].body)
    );
    assert!(
        received
            .iter()
            .all(|one| one.path == "/in" && one.signatures_under(&hook.secret) == 1)
    );
    let metrics = reqwest::get(format!("http://{}/metrics", plane.running.admin))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    for expected in [
        "keyward_webhook_deliveries_total{result=\"retried\"} 4",
        "keyward_webhook_deliveries_total{result=\"delivered\"} 1",
        "keyward_webhook_deliveries_pending 0",
    ] {
        assert!(metrics.contains(expected), "no {expected} in\n{metrics}");
    }
}

#[tokio::test]
async fn after_a_day_it_is_tried_no_more() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    receiver.answer(500);
    hook.test(&plane).await;
    hook.settles(&plane, "pending", 1).await;
    plane.advance(Duration::from_secs(24 * 3_600));
    plane
        .eventually(async || hook.deliveries(&plane, "state=failed").await.len() == 1)
        .await;
    let failed = &hook.deliveries(&plane, "").await[0];
    assert_eq!(failed["next_attempt_at"], Value::Null);
}

#[tokio::test]
async fn an_endpoint_that_says_410_disables_its_webhook() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    receiver.answer(410);
    hook.test(&plane).await;
    let failed = hook.settles(&plane, "failed", 1).await;
    assert_eq!(failed["attempts"][0]["status"], 410);
    let shown = plane.admin("GET", hook.path()).send().await.expect(200).json();
    assert_eq!(
        (&shown["status"], &shown["disabled_reason"]),
        (&json!("disabled"), &json!("gone"))
    );
    assert_eq!(audited(&plane).await[0], "webhook.disabled");
    let on = json!({"status": "active"});
    let on = plane
        .admin("PUT", hook.path())
        .json(&on)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&on["status"], &on["disabled_reason"]),
        (&json!("active"), &Value::Null)
    );
}

#[tokio::test]
async fn a_slow_endpoint_delays_no_other() {
    let plane = Plane::start().await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    Hook::at(&plane, &slow, &["customer.created"]).await;
    Hook::at(&plane, &quick, &["customer.created"]).await;
    slow.hold();
    for number in 0..8 {
        plane.company(&format!("Company {number}")).await;
    }
    quick.wait_for(8).await;
    // It holds as many attempts as it has places, and the others wait for them.
    assert_eq!(slow.wait_for(4).await.len(), 4);
    slow.release();
    let all: HashSet<String> = slow
        .wait_for(8)
        .await
        .iter()
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!(all.len(), 8);
}

#[tokio::test]
async fn a_restart_goes_on_with_what_is_pending() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    receiver.answer(503);
    hook.test(&plane).await;
    hook.settles(&plane, "pending", 1).await;
    let plane = plane.restart().await;
    receiver.answer(200);
    plane.advance(Duration::from_secs(10));
    hook.settles(&plane, "delivered", 2).await;
    let received = receiver.received();
    assert_eq!(received[0].id(), received[1].id());
}

#[tokio::test]
async fn what_a_control_plane_had_in_hand_when_it_died_is_delivered_when_its_lease_ends() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let id = hook.id.parse().unwrap();
    let Plane { running, folder, .. } = plane;
    running.shutdown().await;
    // One that takes the delivery and is never heard of again.
    let (dead, _) = ControlPlane::open(&config(&folder)).await.unwrap();
    webhooks::test(&dead, &Actor::system("test"), id).await.unwrap();
    let now = dead.clock.now();
    assert_eq!(attempts::take(&dead.store, id, now, 9).await.unwrap().len(), 1);
    let lease_ends = UnixMillis(now.0 + attempts::LEASE_MS);
    let before = UnixMillis(lease_ends.0 - 1);
    assert!(
        attempts::webhooks_due(&dead.store, before)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        attempts::take(&dead.store, id, before, 9)
            .await
            .unwrap()
            .is_empty()
    );

    let alive = ControlPlane::start(config(&folder)).await.unwrap();
    alive.registry().clock.advance(Duration::from_secs(31));
    assert_eq!(receiver.wait_for(1).await[0].signatures_under(&hook.secret), 1);
    alive.shutdown().await;
}

#[tokio::test]
async fn two_control_planes_share_the_work_and_tell_nothing_twice() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["customer.created"]).await;
    let second = ControlPlane::start(config(&plane.folder)).await.unwrap();
    receiver.hold();
    for number in 0..12 {
        plane.company(&format!("Company {number}")).await;
    }
    // Four places at each of them: the second one takes part.
    receiver.wait_for(8).await;
    receiver.release();
    plane
        .eventually(async || hook.deliveries(&plane, "state=delivered").await.len() == 12)
        .await;
    let ids: HashSet<String> = receiver
        .received()
        .iter()
        .map(|one| one.id().to_owned())
        .collect();
    assert_eq!((ids.len(), receiver.received().len()), (12, 12));
    second.shutdown().await;
}

#[tokio::test]
async fn old_messages_are_forgotten_with_their_deliveries() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    hook.test(&plane).await;
    hook.settles(&plane, "delivered", 1).await;
    plane.advance(Duration::from_secs(31 * 86_400));
    plane
        .eventually(async || hook.deliveries(&plane, "").await.is_empty())
        .await;
}
