//! `GET /admin/customers`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use super::{acme, create};
use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn accounts_are_listed_by_filter_and_page_newest_first() {
    let plane = Plane::start().await;
    for number in 0..5 {
        let mut body = acme();
        body["company_name"] = json!(format!("École {number} 100%"));
        body["tier"] = json!(if number % 2 == 0 { "starter" } else { "scale" });
        create(&plane, &body).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = plane
            .admin("GET", format!("/admin/customers?limit=2{cursor}"))
            .send()
            .await
            .expect(200)
            .json();
        seen.extend(
            page["customers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["company_name"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..5)
        .rev()
        .map(|number| format!("École {number} 100%"))
        .collect();
    assert_eq!(seen, expected);
    let count = async |query: &str| {
        let page = plane
            .admin("GET", format!("/admin/customers?{query}"))
            .send()
            .await
            .expect(200)
            .json();
        page["customers"].as_array().unwrap().len()
    };
    assert_eq!(count("tier=starter").await, 3);
    assert_eq!(count("tier=starter&query=%C3%A9COLE%202").await, 1);
    assert_eq!(count("query=ACME.example").await, 5);
    assert_eq!(count("query=%25").await, 5);
    assert_eq!(count("query=0%25x").await, 0);
    assert_eq!(count("query=_").await, 0);
    assert_eq!(count("status=suspended").await, 0);
    assert_eq!(count("status=active&limit=1000").await, 5);
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "cursor=",
        "status=gone",
        "tier=platinum",
    ] {
        let answer = plane.admin("GET", format!("/admin/customers?{bad}")).send().await;
        let answer = answer.expect_error(400, "invalid_request").json();
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains(bad.split('=').next().unwrap())
        );
    }
}

#[tokio::test]
async fn whatever_is_searched_for_is_a_text_and_no_pattern() {
    let plane = Plane::start().await;
    let mut body = acme();
    body["company_name"] = json!("Caf\u{e9} 100%");
    create(&plane, &body).await.expect(201);
    create(&plane, &acme()).await.expect(201);
    let found = async |query: &str| {
        let listed = plane
            .admin("GET", format!("/admin/customers?query={query}"))
            .send()
            .await;
        listed.expect(200).json()["customers"].as_array().unwrap().len()
    };
    // Typed in pieces, it is the same text.
    assert_eq!(found("CAFE%CC%81").await, 1);
    assert_eq!(found("%20100%25%20").await, 1);
    assert_eq!(found("1_0").await, 0);
    for bad in [
        "%00",
        "a%00",
        &"_".repeat(256),
        &"%25".repeat(9_000),
        &"_".repeat(30_000),
    ] {
        let refused = plane
            .admin("GET", format!("/admin/customers?query={bad}"))
            .send()
            .await;
        let refused = refused.expect_error(400, "invalid_request");
        assert!(refused.json()["message"].as_str().unwrap().contains("`query`"));
    }
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/customers",
        least: Role::Viewer,
        allow: &["GET", "HEAD", "POST"],
    }
}
