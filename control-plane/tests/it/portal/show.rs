//! `GET /customers/{customerId}`

use crate::plane::Plane;
use crate::portal::Door;

#[tokio::test]
async fn a_customer_is_shown_with_the_key_that_it_was_made_with() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    for prefix in ["", "/v1"] {
        let path = format!("{prefix}/customers/{}", made["id"].as_str().unwrap());
        let shown = plane
            .call("GET", path)
            .key(&company.live)
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(shown, made);
    }
}

#[tokio::test]
async fn a_customer_that_is_not_there_is_404() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let call = plane
        .call("GET", "/customers/clx8f2k9h0001qr5tgvwxyz99")
        .key(&company.live);
    call.send().await.expect_code(404, "NOT_FOUND");
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
        method: "GET",
        rest: "/{}",
        body: "",
        allow: &["DELETE", "GET", "HEAD", "PATCH"],
    }
}
