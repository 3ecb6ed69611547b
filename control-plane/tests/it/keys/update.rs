//! `PUT /keys/{keyId}`

use std::time::Duration;

use serde_json::{Value, json};

use super::{get, make, path, person, plane, set};
use crate::plane::{Answer, Plane};

async fn put(plane: &Plane, credential: &str, key: &Value, body: Value) -> Answer {
    let call = plane.call("PUT", path(key)).key(credential);
    call.json(&body).send().await
}

#[tokio::test]
async fn what_is_sent_is_changed_and_null_clears() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({"description": "old"})).await;
    plane.advance(Duration::from_secs(1));
    let body = json!({
        "apiVersion": "2026-11-01", "description": "new", "whitelistedIPs": ["192.0.2.1/32"], "userId": "ignored",
    });
    let edited = put(&plane, &company.live, &key, body).await.expect(200).json();
    insta::assert_json_snapshot!(edited, {
        ".id" => "[id]", ".companyId" => "[account]", ".userId" => "[user]", ".key" => "[key]",
        ".apiVersionUpdatedAt" => "[time]", ".apiVersionDowngradeNotAllowedAfter" => "[time]",
        ".createdAt" => "[time]", ".updatedAt" => "[time]",
    }, @r#"
    {
      "id": "[id]",
      "companyId": "[account]",
      "userId": "[user]",
      "key": "[key]",
      "whitelistedIPs": [
        "192.0.2.1"
      ],
      "apiVersion": "2026-11-01",
      "apiVersionUpdatedAt": "[time]",
      "apiVersionDowngradeNotAllowedAfter": "[time]",
      "status": "active",
      "description": "new",
      "createdAt": "[time]",
      "updatedAt": "[time]",
      "deletedAt": null
    }
    "#);
    for kept in ["id", "companyId", "userId", "key", "createdAt"] {
        assert_eq!(edited[kept], key[kept], "{kept}");
    }
    assert_eq!(edited["apiVersionUpdatedAt"], edited["updatedAt"]);
    assert_ne!(edited["updatedAt"], key["updatedAt"]);
    assert_eq!(get(&plane, &company.live, path(&key)).await, edited);

    let cleared = put(
        &plane,
        &company.live,
        &key,
        json!({"description": null, "whitelistedIPs": null}),
    )
    .await
    .expect(200)
    .json();
    let mut expected = edited.clone();
    for field in ["description", "whitelistedIPs"] {
        expected[field] = Value::Null;
    }
    expected["updatedAt"] = cleared["updatedAt"].clone();
    assert_eq!(cleared, expected);
}

#[tokio::test]
async fn what_is_not_sent_or_the_same_changes_nothing() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let fields = json!({"description": "ci", "whitelistedIPs": ["127.0.0.1"]});
    let key = make(&plane, &company.live, &ada, fields).await;
    plane.advance(Duration::from_secs(1));
    for body in [
        json!({}),
        json!({"description": " ci "}),
        json!({"whitelistedIPs": ["127.0.0.1/32", "127.0.0.1"]}),
        json!({"apiVersion": "2027-02-01"}),
    ] {
        assert_eq!(
            put(&plane, &company.live, &key, body).await.expect(200).json(),
            key
        );
    }
}

#[tokio::test]
async fn a_key_goes_to_a_lower_version_until_its_window_ends() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let to = |version| put(&plane, &company.live, &key, json!({"apiVersion": version}));
    let instant = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // A key that was never moved may go lower; that opens its window.
    let moved = to("2026-05-01").await.expect(200).json();
    let window = |key: &Value| {
        let (from, until) = (
            &key["apiVersionUpdatedAt"],
            &key["apiVersionDowngradeNotAllowedAfter"],
        );
        instant(until).as_millisecond() - instant(from).as_millisecond()
    };
    assert_eq!(window(&moved), 72 * 3_600_000);
    plane.advance(Duration::from_secs(80 * 3_600));
    // Up is always possible, and opens it anew.
    let up = to("2027-02-01").await.expect(200).json();
    assert_eq!(window(&up), 72 * 3_600_000);
    assert!(instant(&up["apiVersionUpdatedAt"]) > instant(&moved["apiVersionDowngradeNotAllowedAfter"]));
    plane.advance(Duration::from_secs(71 * 3_600));
    assert_eq!(
        to("2026-11-01").await.expect(200).json()["apiVersion"],
        "2026-11-01"
    );
    to("2027-02-01").await.expect(200);
    plane.advance(Duration::from_secs(73 * 3_600));
    to("2026-11-01").await.expect_message(409, "lower API version");
    assert_eq!(
        get(&plane, &company.live, path(&key)).await["apiVersion"],
        "2027-02-01"
    );
    // Staying is no change.
    to("2027-02-01").await.expect(200);
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name_and_changes_nothing() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({"description": "ci"})).await;
    for (body, part) in [
        (json!({"apiVersion": null}), "`apiVersion`"),
        (json!({"apiVersion": 20261101}), "`apiVersion`"),
        (json!({"apiVersion": ""}), "`apiVersion`"),
        (json!({"apiVersion": "2026-11"}), "`apiVersion`"),
        (json!({"apiVersion": "2026-02-30"}), "`apiVersion`"),
        (json!({"apiVersion": "2026-11-02"}), "2026-05-01"),
        (json!({"apiVersion": " 2026-11-01"}), "`apiVersion`"),
        (
            json!({"apiVersion": "2026-11-01", "description": ""}),
            "`description`",
        ),
        (json!({"description": "x".repeat(201)}), "`description`"),
        (json!({"description": ["x"]}), "`description`"),
        (
            json!({"description": "new", "whitelistedIPs": []}),
            "`whitelistedIPs`",
        ),
        (
            json!({"whitelistedIPs": ["192.0.2.1", "192.0.2.9/24"]}),
            "`192.0.2.9/24`",
        ),
        (json!({"whitelistedIPs": ["192.0.2.1", 7]}), "`7`"),
    ] {
        put(&plane, &company.live, &key, body)
            .await
            .expect_message(400, part);
    }
    assert_eq!(get(&plane, &company.live, path(&key)).await, key);
}

#[tokio::test]
async fn a_deleted_key_is_not_found_and_another_dead_one_is_changed_without_coming_back() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    set(&plane, key["id"].as_str().unwrap(), "state", "revoked").await;
    let edited = put(&plane, &company.live, &key, json!({"description": "leaked"})).await;
    let edited = edited.expect(200).json();
    assert_eq!(
        (&edited["status"], &edited["key"], &edited["description"]),
        (&json!("inactive"), &Value::Null, &json!("leaked"))
    );
    let call = plane.call("DELETE", path(&key)).key(&company.live);
    call.send().await.expect(204);
    put(&plane, &company.live, &key, json!({"description": "x"}))
        .await
        .expect_message(404, "no such API key");
}

#[tokio::test]
async fn a_key_may_lock_itself_out() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let itself = key["key"].as_str().unwrap();
    let body = json!({"whitelistedIPs": ["192.0.2.1"]});
    put(&plane, itself, &key, body).await.expect(200);
    put(&plane, itself, &key, json!({"whitelistedIPs": null}))
        .await
        .expect_message(403, "address");
    put(&plane, &company.live, &key, json!({"whitelistedIPs": null}))
        .await
        .expect(200);
    put(&plane, itself, &key, json!({})).await.expect(200);
}
