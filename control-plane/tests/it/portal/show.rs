//! `GET /customers/{customerId}`

use crate::plane::Plane;

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
