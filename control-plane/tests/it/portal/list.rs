//! `GET /customers`

use serde_json::json;

use crate::plane::Plane;
use crate::portal::Door;

#[tokio::test]
async fn customers_are_listed_newest_first_without_their_keys() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let empty = plane
        .call("GET", "/customers")
        .key(&company.live)
        .send()
        .await
        .expect(200)
        .json();
    let expected =
        json!({"object": "list", "data": [], "total": 0, "limit": 25, "offset": 0, "hasMore": false});
    assert_eq!(empty, expected);
    for number in 0..7 {
        plane.customer(&company.live, &format!("Customer {number}")).await;
    }
    let mut seen = Vec::new();
    for offset in [0, 3, 6, 9] {
        let path = format!("/v1/customers?limit=3&offset={offset}&unknown=1");
        let page = plane
            .call("GET", path)
            .key(&company.live)
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(page["total"], 7);
        assert_eq!(
            (page["limit"].as_i64(), page["offset"].as_i64()),
            (Some(3), Some(offset))
        );
        assert_eq!(page["hasMore"], offset < 4, "{page}");
        for customer in page["data"].as_array().unwrap() {
            assert!(customer.get("apiKey").is_none());
            seen.push((
                customer["createdAt"].as_str().unwrap().to_owned(),
                customer["id"].as_str().unwrap().to_owned(),
            ));
        }
    }
    assert_eq!(seen.len(), 7);
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    sorted.reverse();
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn paging_out_of_range_is_refused_and_never_clamped() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=abc", "limit"),
        ("limit=", "limit"),
        ("limit=%2B5", "limit"),
        ("limit=5&limit=6", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        ("offset=9223372036854775808", "offset"),
    ] {
        let call = plane
            .call("GET", format!("/customers?{query}"))
            .key(&company.live);
        call.send().await.expect_invalid(field);
    }
    for query in ["limit=1", "limit=100", "offset=9223372036854775807", ""] {
        let call = plane
            .call("GET", format!("/customers?{query}"))
            .key(&company.live);
        call.send().await.expect(200);
    }
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        rest: "",
        body: "",
        allow: &["GET", "HEAD", "POST"],
    }
}
