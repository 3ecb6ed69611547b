//! `GET /admin/webhooks/{webhook_id}/deliveries`

use insta::assert_json_snapshot;

use super::{Hook, NOBODY};
use crate::plane::Plane;
use crate::receiver::Receiver;

#[tokio::test]
async fn every_attempt_is_shown() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    receiver.answer(500);
    hook.test(&plane).await;
    hook.settles(&plane, "pending", 1).await;
    let path = format!("{}/deliveries", hook.path());
    let listed = plane.admin("GET", path).send().await.expect(200).json();
    assert_json_snapshot!(listed, {
        ".deliveries[].delivery_id" => "[id]", ".deliveries[].message_id" => "[id]",
        ".deliveries[].created_at" => "[at]", ".deliveries[].next_attempt_at" => "[at]",
        ".deliveries[].attempts[].at" => "[at]", ".deliveries[].attempts[].duration_ms" => "[ms]",
    }, @r#"
    {
      "deliveries": [
        {
          "delivery_id": "[id]",
          "message_id": "[id]",
          "event": "webhook.test",
          "state": "pending",
          "created_at": "[at]",
          "next_attempt_at": "[at]",
          "attempts": [
            {
              "at": "[at]",
              "duration_ms": "[ms]",
              "status": 500,
              "error": null
            }
          ]
        }
      ],
      "next_cursor": null
    }
    "#);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_told_in_words_without_its_address() {
    let plane = Plane::start().await;
    let receiver = Receiver::start().await;
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let port = receiver.url.split(':').nth(2).unwrap().to_owned();
    drop(receiver);
    hook.test(&plane).await;
    let tried = hook.settles(&plane, "pending", 1).await;
    let error = tried["attempts"][0]["error"].as_str().unwrap();
    assert!(
        error.starts_with("could not connect") && !error.contains(&port),
        "{error}"
    );
    assert!(tried["attempts"][0]["status"].is_null());
}

#[tokio::test]
async fn deliveries_are_filtered_and_paged_newest_first() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    let other = Hook::at(&plane, &receiver, &["*"]).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(hook.test(&plane).await["delivery_id"].clone());
    }
    ids.reverse();
    other.test(&plane).await;
    plane
        .eventually(async || hook.deliveries(&plane, "state=delivered").await.len() == 5)
        .await;
    assert!(hook.deliveries(&plane, "state=pending").await.is_empty());
    assert!(hook.deliveries(&plane, "state=failed").await.is_empty());
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{}/deliveries?limit=2{cursor}", hook.path());
        let page = plane.admin("GET", path).send().await.expect(200).json();
        for delivery in page["deliveries"].as_array().unwrap() {
            assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1);
            seen.push(delivery["delivery_id"].clone());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn what_is_no_filter_is_400_and_what_is_not_there_404() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = Hook::at(&plane, &receiver, &["*"]).await;
    for bad in ["limit=0", "limit=1001", "cursor=x", "state=lost"] {
        let refused = plane
            .admin("GET", format!("{}/deliveries?{bad}", hook.path()))
            .send()
            .await;
        refused.expect_error(400, "invalid_request");
    }
    let path = format!("/admin/webhooks/{NOBODY}/deliveries");
    plane
        .admin("GET", path)
        .send()
        .await
        .expect_error(404, "not_found");
}
