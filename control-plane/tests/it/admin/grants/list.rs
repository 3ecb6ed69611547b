//! `GET /admin/customers/{customer_id}/quota-grants`

use std::time::Duration;

use keyward_contract::QuotaPeriod;
use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use super::{grant, grants};
use crate::admin::{Door, NOBODY};
use crate::plane::Plane;

async fn list(plane: &Plane, account: &str, query: &str) -> Value {
    let path = format!("{}{query}", grants(account));
    plane.admin("GET", path).send().await.expect(200).json()
}

fn validations(list: &Value) -> Vec<u64> {
    let grants = list["quota_grants"].as_array().unwrap().iter();
    grants
        .map(|grant| grant["validations"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn grants_are_listed_newest_first_as_they_were_answered() {
    let plane = Plane::start().await;
    let (company, other) = (plane.company("Acme").await, plane.company("Other").await);
    let none = json!({"quota_grants": [], "next_cursor": null});
    assert_eq!(list(&plane, &company.id, "").await, none);
    let first = grant(&plane, &company.id, 1).await;
    let second = grant(&plane, &company.id, 2).await;
    let listed = list(&plane, &company.id, "").await;
    assert_eq!(
        listed,
        json!({"quota_grants": [second, first], "next_cursor": null})
    );
    assert_eq!(list(&plane, &other.id, "?period=all").await, none);
    // What was granted to an account that is gone is still there to be read.
    let path = format!("/admin/customers/{}", company.id);
    plane.admin("DELETE", path).send().await.expect(200);
    assert_eq!(list(&plane, &company.id, "?period=current").await, listed);
}

#[tokio::test]
async fn earlier_years_are_listed_when_all_are_asked_for() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let before = grant(&plane, &company.id, 1).await;
    let now = plane.running.registry().clock.now();
    let left = QuotaPeriod::at(now, None).end.0 - now.0;
    plane.advance(Duration::from_millis(left.unsigned_abs()));
    assert!(validations(&list(&plane, &company.id, "").await).is_empty());
    let now = grant(&plane, &company.id, 2).await;
    assert_eq!(validations(&list(&plane, &company.id, "").await), [2]);
    let all = list(&plane, &company.id, "?period=all").await;
    assert_eq!(all["quota_grants"], json!([now, before]));
    assert_eq!(before["period_end"], now["period_start"]);
}

#[tokio::test]
async fn pages_repeat_none_and_skip_none() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for validations in 1..=7 {
        grant(&plane, &company.id, validations).await;
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = list(&plane, &company.id, &query).await;
        seen.extend(validations(&page));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=3&cursor={next}");
        if seen.len() == 3 {
            // Newer ones don't come into a walk that has begun.
            grant(&plane, &company.id, 8).await;
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_bad_parameter_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (query, field) in [
        ("period=2026", "period"),
        ("period=", "period"),
        ("period=all&period=all", "period"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
    ] {
        let path = format!("{}?{query}", grants(&company.id));
        let refused = plane.admin("GET", path).send().await;
        let refused = refused.expect_error(400, "invalid_request").json();
        let message = refused["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("`{field}`")), "{query}: {message}");
    }
}

#[tokio::test]
async fn the_grants_of_nobody_are_404() {
    let plane = Plane::start().await;
    crate::admin::leads_nowhere(&plane, "GET", &[NOBODY, "x"].map(grants)).await;
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    let door = Door {
        method: "GET",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/quota-grants",
        least: Role::Viewer,
        allow: &["GET", "HEAD", "POST"],
    };
    door.opens_only_to_whom_it_should().await;
}
