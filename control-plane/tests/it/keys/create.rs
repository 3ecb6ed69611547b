//! `POST /keys`

use keyward_contract::PlainKey;
use serde_json::json;

use super::{get, make, path, person, plane, run};
use crate::plane::Plane;

#[tokio::test]
async fn a_key_is_made_for_a_user_and_shown_again() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let body = json!({
        "userId": ada.id, "description": " Payroll ", "unknown": [1],
        "whitelistedIPs": ["203.0.113.0/24", "2001:DB8::1", "203.0.113.0/24", "::ffff:192.0.2.7"],
    });
    let call = plane.call("POST", "/keys").key(&company.live).json(&body);
    let answer = call.send().await.expect(201);
    let made = answer.json();
    insta::assert_json_snapshot!(made, {
        ".id" => "[id]", ".companyId" => "[account]", ".userId" => "[user]", ".key" => "[key]",
        ".apiVersionUpdatedAt" => "[time]", ".createdAt" => "[time]", ".updatedAt" => "[time]",
    }, @r#"
    {
      "id": "[id]",
      "companyId": "[account]",
      "userId": "[user]",
      "key": "[key]",
      "whitelistedIPs": [
        "203.0.113.0/24",
        "2001:db8::1",
        "192.0.2.7"
      ],
      "apiVersion": "2027-02-01",
      "apiVersionUpdatedAt": "[time]",
      "apiVersionDowngradeNotAllowedAfter": null,
      "status": "active",
      "description": "Payroll",
      "createdAt": "[time]",
      "updatedAt": "[time]",
      "deletedAt": null
    }
    "#);
    assert_eq!(made["companyId"], company.id);
    assert_eq!(made["userId"], ada.id);
    for time in ["apiVersionUpdatedAt", "createdAt", "updatedAt"] {
        let written = made[time].as_str().unwrap();
        assert_eq!(written.len(), "2026-01-19T10:30:00.000Z".len(), "{written}");
        assert_eq!(made[time], made["createdAt"]);
    }
    let plain = made["key"].as_str().unwrap();
    assert!(plain.starts_with("pk_live_") && PlainKey::parse(plain).is_ok());
    assert_eq!(answer.header("location").unwrap(), path(&made));
    assert_eq!(get(&plane, &company.live, path(&made)).await, made);
    // Keys that are made here may make keys, from where they may be used.
    let here = make(
        &plane,
        &company.live,
        &ada,
        json!({"whitelistedIPs": ["127.0.0.1"]}),
    )
    .await;
    make(&plane, here["key"].as_str().unwrap(), &ada, json!({})).await;
    let elsewhere = plane.call("POST", "/keys").key(plain).json(&body);
    elsewhere.send().await.expect_message(403, "address");
}

#[tokio::test]
async fn what_is_not_said_of_a_key_is_null_and_its_environment_the_callers() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let empty = json!({"whitelistedIPs": null, "description": null});
    for (fields, credential, prefix) in [
        (json!({}), &company.live, "pk_live_"),
        (empty, &company.test, "pk_test_"),
    ] {
        let made = make(&plane, credential, &ada, fields).await;
        assert!(made["key"].as_str().unwrap().starts_with(prefix));
        assert_eq!(
            (&made["whitelistedIPs"], &made["description"]),
            (&json!(null), &json!(null))
        );
    }
}

#[tokio::test]
async fn a_user_may_be_named_by_its_sub_too() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    for named in [ada.sub.clone(), ada.sub.to_uppercase(), format!(" {} ", ada.id)] {
        let call = plane.call("POST", "/keys").key(&company.live);
        let made = call.json(&json!({"userId": named})).send().await.expect(201);
        assert_eq!(made.json()["userId"], ada.id);
    }
}

#[tokio::test]
async fn a_user_who_is_unknown_gone_or_of_another_account_is_not_found() {
    let plane = plane().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let (gone, foreign) = (person(&plane, &acme).await, person(&plane, &other).await);
    run(
        &plane,
        "UPDATE users SET deleted_at = 1 WHERE id = $1",
        &[&gone.id],
    )
    .await;
    let never = uuid::Uuid::now_v7().to_string();
    for user in [
        &gone.id,
        &gone.sub,
        &foreign.id,
        &foreign.sub,
        &never,
        "nobody",
        "\u{0}",
        &never.replace('-', ""),
    ] {
        let call = plane.call("POST", "/keys").key(&acme.live);
        let answer = call.json(&json!({"userId": user})).send().await;
        answer.expect_message(404, "no such user");
    }
    assert_eq!(get(&plane, &acme.live, "/keys").await["total"], 1);
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    for (field, value, part) in [
        ("userId", json!(null), "`userId`"),
        ("userId", json!(7), "`userId`"),
        ("userId", json!([]), "`userId`"),
        ("userId", json!(""), "`userId`"),
        ("userId", json!("  "), "`userId`"),
        ("description", json!(""), "`description`"),
        ("description", json!("  "), "`description`"),
        ("description", json!("x".repeat(201)), "`description`"),
        ("description", json!(7), "`description`"),
        ("description", json!("a\u{0}b"), "`description`"),
        ("whitelistedIPs", json!([]), "`whitelistedIPs`"),
        ("whitelistedIPs", json!("192.0.2.1"), "`whitelistedIPs`"),
        ("whitelistedIPs", json!({}), "`whitelistedIPs`"),
        ("whitelistedIPs", json!(["192.0.2.1", 7]), "`7`"),
        ("whitelistedIPs", json!(["192.0.2.1", null]), "`null`"),
        ("whitelistedIPs", json!(["192.0.2.1", ""]), "``"),
        (
            "whitelistedIPs",
            json!(["192.0.2.1", "192.0.2.9/24"]),
            "`192.0.2.9/24`",
        ),
        ("whitelistedIPs", json!(["2001:db8::1/32"]), "`2001:db8::1/32`"),
        ("whitelistedIPs", json!(["192.0.2.0/33"]), "`192.0.2.0/33`"),
        ("whitelistedIPs", json!(["192.0.2.01"]), "`192.0.2.01`"),
        ("whitelistedIPs", json!([" 192.0.2.1"]), "` 192.0.2.1`"),
        ("whitelistedIPs", json!(["localhost"]), "`localhost`"),
        (
            "whitelistedIPs",
            (0..101).map(|n| json!(format!("10.0.0.{n}"))).collect(),
            "at most 100",
        ),
    ] {
        let mut body = json!({"userId": ada.id});
        body[field] = value;
        let call = plane.call("POST", "/keys").key(&company.live).json(&body);
        call.send().await.expect_message(400, part);
    }
    let call = plane.call("POST", "/keys").key(&company.live).json(&json!({}));
    call.send().await.expect_message(400, "`userId` is required");
    assert_eq!(get(&plane, &company.live, "/keys").await["total"], 1);
    let longest = json!({
        "description": "é".repeat(200),
        "whitelistedIPs": (0..100).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>(),
    });
    let made = make(&plane, &company.live, &ada, longest.clone()).await;
    assert_eq!(made["description"], longest["description"]);
    assert_eq!(made["whitelistedIPs"], longest["whitelistedIPs"]);
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_makes_no_second_key() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let send = |body: serde_json::Value| {
        let call = plane.call("POST", "/keys").key(&company.live);
        call.header("idempotency-key", "k").json(&body).send()
    };
    let body = json!({"userId": ada.id});
    let first = send(body.clone()).await.expect(201);
    let repeat = send(body).await.expect(201);
    assert_eq!(first.text, repeat.text);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeat.header("location"), first.header("location"));
    send(json!({"userId": ada.sub}))
        .await
        .expect_message(409, "Idempotency-Key");
    assert_eq!(get(&plane, &company.live, "/keys").await["total"], 2);
}

#[tokio::test]
async fn what_happened_is_in_the_audit_trail_and_no_key() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let made = make(&plane, &company.live, &ada, json!({"description": "ci"})).await;
    let call = plane.call("PUT", path(&made)).key(&company.live);
    call.json(&json!({"apiVersion": "2026-05-01"}))
        .send()
        .await
        .expect(200);
    let call = plane.call("DELETE", path(&made)).key(&company.live);
    call.send().await.expect(204);
    let shown = plane.admin("GET", "/admin/audit").send().await.expect(200);
    for action in ["key.created", "key.updated", "key.deleted"] {
        assert!(shown.text.contains(action), "no {action} in {}", shown.text);
    }
    assert!(!shown.text.contains(made["key"].as_str().unwrap()));
}

#[tokio::test]
async fn a_key_is_kept_sealed_for_the_one_it_was_made_for() {
    let plane: Plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let first = make(&plane, &company.live, &ada, json!({})).await;
    let second = make(&plane, &company.live, &ada, json!({})).await;
    let (first_id, second_id) = (first["id"].as_str().unwrap(), second["id"].as_str().unwrap());
    // One row's seal copied over another's shows nothing.
    run(
        &plane,
        "UPDATE api_keys SET sealed = (SELECT sealed FROM api_keys WHERE id = $2) WHERE id = $1",
        &[first_id, second_id],
    )
    .await;
    assert_eq!(get(&plane, &company.live, path(&first)).await["key"], json!(null));
    assert_eq!(get(&plane, &company.live, path(&second)).await, second);
}
