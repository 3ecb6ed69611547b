//! `POST /admin/webhooks`

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::audited;
use crate::plane::{Answer, Plane};

async fn create(plane: &Plane, body: &Value) -> Answer {
    plane.admin("POST", "/admin/webhooks").json(body).send().await
}

#[tokio::test]
async fn a_webhook_is_made_and_its_secret_shown_once() {
    let plane = Plane::start().await;
    let body = json!({
        "url": "https://hooks.example.com/in?token=t", "description": " Billing ",
        "events": ["quota.100", "key.revoked", "quota.100"],
    });
    let made = create(&plane, &body).await.expect(201).json();
    assert_json_snapshot!(made, {
        ".webhook_id" => "[id]", ".created_at" => "[at]", ".updated_at" => "[at]", ".secret" => "[secret]",
    }, @r#"
    {
      "webhook_id": "[id]",
      "url": "https://hooks.example.com/in?token=t",
      "events": [
        "quota.100",
        "key.revoked"
      ],
      "description": "Billing",
      "status": "active",
      "disabled_reason": null,
      "previous_secret_expires_at": null,
      "created_at": "[at]",
      "updated_at": "[at]",
      "secret": "[secret]"
    }
    "#);
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 6 + 44, "{secret}");
    for path in ["/admin/webhooks", "/admin/audit"] {
        let shown = plane.admin("GET", path).send().await.expect(200);
        assert!(!shown.text.contains(&secret[6..]), "{path} shows the secret");
    }
    assert_eq!(audited(&plane).await, ["webhook.created"]);
    let trail = plane
        .admin("GET", "/admin/audit?action=webhook.created")
        .send()
        .await;
    assert!(
        !trail.text.contains("token"),
        "a query may hold a token: {}",
        trail.text
    );
}

#[tokio::test]
async fn without_events_a_webhook_is_told_all() {
    let plane = Plane::start().await;
    for events in [json!({}), json!({"events": null}), json!({"events": ["*"]})] {
        let mut body = json!({"url": "https://example.com/"});
        body.as_object_mut()
            .unwrap()
            .extend(events.as_object().unwrap().clone());
        let made = create(&plane, &body).await.expect(201).json();
        assert_eq!(made["events"], json!(["*"]));
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_400_and_names_the_field() {
    let plane = Plane::start().await;
    let url = "https://example.com/";
    for (body, field) in [
        (json!({}), "url"),
        (json!({"url": null}), "url"),
        (json!({"url": 1}), "url"),
        (json!({"url": "http://example.com/"}), "url"),
        (json!({"url": "https://a:b@example.com/"}), "url"),
        (
            json!({"url": format!("https://example.com/{}", "x".repeat(2_048))}),
            "url",
        ),
        (json!({"url": url, "events": []}), "events"),
        (json!({"url": url, "events": "*"}), "events"),
        (json!({"url": url, "events": ["key.eaten"]}), "events"),
        (json!({"url": url, "events": ["webhook.test"]}), "events"),
        (json!({"url": url, "description": "x".repeat(256)}), "description"),
    ] {
        let refused = create(&plane, &body)
            .await
            .expect_error(400, "invalid_request")
            .json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{message}");
    }
    assert!(audited(&plane).await.is_empty());
}

#[tokio::test]
async fn there_is_a_bound_and_a_repeat_under_a_key_makes_one() {
    let plane = Plane::start().await;
    let body = json!({"url": "https://example.com/"});
    let once = || {
        plane
            .admin("POST", "/admin/webhooks")
            .header("idempotency-key", "one")
            .json(&body)
            .send()
    };
    let (first, again) = (once().await.expect(201), once().await.expect(201));
    assert_eq!(first.text, again.text);
    for _ in 1..50 {
        create(&plane, &body).await.expect(201);
    }
    create(&plane, &body).await.expect_error(409, "conflict");
}
