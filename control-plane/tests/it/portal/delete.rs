//! `DELETE /customers/{customerId}`

use serde_json::json;

use crate::plane::Plane;
use crate::portal::Door;

#[tokio::test]
async fn a_deleted_customer_is_gone_and_its_name_free() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}", made["id"].as_str().unwrap());
    let gone = plane
        .call("DELETE", &path)
        .key(&company.live)
        .send()
        .await
        .expect(204);
    assert_eq!(gone.text, "");
    for (method, rest) in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/usage"),
        ("POST", "/rotate-key"),
    ] {
        let call = plane.call(method, format!("{path}{rest}")).key(&company.live);
        call.json(&json!({"name": "Back"}))
            .send()
            .await
            .expect_code(404, "NOT_FOUND");
    }
    let list = plane
        .call("GET", "/customers")
        .key(&company.live)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(list["total"], 0);
    let again = plane.customer(&company.live, "Uni").await;
    assert_ne!((&again["id"], &again["apiKey"]), (&made["id"], &made["apiKey"]));
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_leads_nowhere_without_a_customer_of_the_caller() {
    door().leads_nowhere_without_a_customer_of_the_caller().await;
}

fn door() -> Door<'static> {
    Door {
        method: "DELETE",
        rest: "/{}",
        body: "",
        allow: &["DELETE", "GET", "HEAD", "PATCH"],
    }
}
