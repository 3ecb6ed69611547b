//! `POST /customers`

use serde_json::json;

use crate::plane::Plane;
use crate::portal::Door;

#[tokio::test]
async fn a_customer_comes_with_its_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for path in ["/customers", "/v1/customers"] {
        let name = format!("Acme University {path}");
        let call = plane.call("POST", path).key(&company.live);
        let answer = call
            .json(&json!({"name": name, "unknown": [1]}))
            .send()
            .await
            .expect(201);
        let made = answer.json();
        let fields: Vec<_> = made.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "object",
            "id",
            "name",
            "environment",
            "apiKey",
            "createdAt",
            "updatedAt",
            "lastUsedAt",
        ];
        assert_eq!(fields, expected);
        assert_eq!(made["object"], "customer");
        assert_eq!(made["name"], name);
        assert_eq!(made["createdAt"], made["updatedAt"]);
        assert_eq!(
            made["createdAt"].as_str().unwrap().len(),
            "2026-01-19T10:30:00.000Z".len()
        );
        assert!(made["lastUsedAt"].is_null());
        let id: keyward_contract::CustomerId = made["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(answer.header("location").unwrap(), format!("/customers/{id}"));
        assert!(keyward_contract::PlainKey::parse(made["apiKey"].as_str().unwrap()).is_ok());
    }
}

#[tokio::test]
async fn a_name_is_required_trimmed_composed_and_bounded() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let call = |body| {
        plane
            .call("POST", "/customers")
            .key(&company.live)
            .json(&body)
            .send()
    };
    for bad in [
        json!({}),
        json!({"name": null}),
        json!({"name": 7}),
        json!({"name": ["x"]}),
        json!({"name": ""}),
        json!({"name": " \u{2003}\t"}),
        json!({"name": "x".repeat(256)}),
        json!({"name": "a\u{0}b"}),
        json!({"name": "a\u{7f}b"}),
    ] {
        call(bad).await.expect_invalid("name");
    }
    let longest = "é".repeat(255);
    for (typed, stored) in [
        ("\u{3000} Trimmed \u{a0}", "Trimmed"),
        ("Cafe\u{301}", "Café"),
        (longest.as_str(), longest.as_str()),
        ("trimmed", "trimmed"),
    ] {
        let made = call(json!({"name": typed})).await.expect(201).json();
        assert_eq!(made["name"], stored);
    }
    call(json!({"name": "Café"})).await.expect_code(409, "CONFLICT");
    call(json!({"name": " Trimmed"}))
        .await
        .expect_code(409, "CONFLICT");
}

#[tokio::test]
async fn of_many_at_once_with_one_name_one_is_made() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let calls = (0..8).map(|_| {
        let call = plane.call("POST", "/customers").key(&company.live);
        call.json(&json!({"name": "Only One"})).send()
    });
    let answers = futures_util::future::join_all(calls).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_takes_only_plain_json() {
    door().takes_only_plain_json().await;
}

fn door() -> Door<'static> {
    Door {
        method: "POST",
        rest: "",
        body: r#"{"name": "Door"}"#,
        allow: &["GET", "HEAD", "POST"],
    }
}
