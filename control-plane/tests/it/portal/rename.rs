//! `PATCH /customers/{customerId}`

use std::time::Duration;

use serde_json::{Value, json};

use crate::plane::{Answer, Plane};
use crate::portal::Door;

async fn rename(plane: &Plane, key: &str, customer: &Value, body: &Value) -> Answer {
    let path = format!("/customers/{}", customer["id"].as_str().unwrap());
    plane.call("PATCH", path).key(key).json(body).send().await
}

#[tokio::test]
async fn a_customer_is_renamed_and_its_key_not_shown() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    plane.advance(Duration::from_secs(5));
    let renamed = rename(&plane, &company.live, &made, &json!({"name": "  College "}))
        .await
        .expect(200)
        .json();
    assert_eq!(renamed["name"], "College");
    assert!(renamed.get("apiKey").is_none());
    assert_eq!(renamed["createdAt"], made["createdAt"]);
    assert!(renamed["updatedAt"].as_str() > made["updatedAt"].as_str());
    // Its key is the same as before, and its old name is free.
    let path = format!("/customers/{}", made["id"].as_str().unwrap());
    let shown = plane
        .call("GET", path)
        .key(&company.live)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(shown["apiKey"], made["apiKey"]);
    plane.customer(&company.live, "Uni").await;
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_everything() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    plane.advance(Duration::from_secs(5));
    for body in [
        json!({}),
        json!({"name": "Uni"}),
        json!({"nickname": 7}),
        json!({"name": " Uni "}),
    ] {
        let answer = rename(&plane, &company.live, &made, &body)
            .await
            .expect(200)
            .json();
        assert_eq!(answer["updatedAt"], made["updatedAt"]);
        assert_eq!(answer["name"], "Uni");
    }
}

#[tokio::test]
async fn a_bad_or_taken_name_is_refused() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    plane.customer(&company.live, "Taken").await;
    for bad in [
        json!({"name": null}),
        json!({"name": ""}),
        json!({"name": 1}),
        json!({"name": "x".repeat(256)}),
    ] {
        rename(&plane, &company.live, &made, &bad)
            .await
            .expect_invalid("name");
    }
    let taken = rename(&plane, &company.live, &made, &json!({"name": "Taken"})).await;
    taken.expect_code(409, "CONFLICT");
    let nobody = json!({"id": "clx8f2k9h0001qr5tgvwxyz99"});
    let missing = rename(&plane, &company.live, &nobody, &json!({"name": "x"})).await;
    missing.expect_code(404, "NOT_FOUND");
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_leads_nowhere_without_a_customer_of_the_caller() {
    door().leads_nowhere_without_a_customer_of_the_caller().await;
}

#[tokio::test]
async fn it_takes_only_plain_json() {
    door().takes_only_plain_json().await;
}

fn door() -> Door<'static> {
    Door {
        method: "PATCH",
        rest: "/{}",
        body: r#"{"name": "Door"}"#,
        allow: &["DELETE", "GET", "HEAD", "PATCH"],
    }
}
