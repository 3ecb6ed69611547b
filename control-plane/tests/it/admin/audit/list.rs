//! `GET /admin/audit`

use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use crate::admin::Door;
use crate::plane::Plane;

async fn events(plane: &Plane, query: &str) -> Vec<Value> {
    let answer = plane
        .admin("GET", format!("/admin/audit?{query}"))
        .send()
        .await
        .expect(200)
        .json();
    answer["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_change_is_one_row_with_who_what_and_from_where() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let call = plane
        .call("POST", "/customers")
        .key(&company.live)
        .header("x-request-id", "the-call");
    let made = call.json(&json!({"name": "Uni"})).send().await.expect(201).json();
    let path = format!("/customers/{}", made["id"].as_str().unwrap());
    plane
        .call("PATCH", &path)
        .key(&company.live)
        .json(&json!({"name": "College"}))
        .send()
        .await
        .expect(200);
    plane
        .call("PATCH", &path)
        .key(&company.live)
        .json(&json!({}))
        .send()
        .await
        .expect(200);
    plane
        .call("DELETE", &path)
        .key(&company.live)
        .send()
        .await
        .expect(204);
    let all = events(&plane, &format!("customer_id={}", company.id)).await;
    let actions: Vec<_> = all
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    let expected = [
        "end_customer.deleted",
        "end_customer.renamed",
        "end_customer.created",
        "key.created",
        "account.created",
    ];
    assert_eq!(actions, expected);
    let renamed = &all[1];
    assert_eq!(
        (&renamed["before"]["name"], &renamed["after"]["name"]),
        (&json!("Uni"), &json!("College"))
    );
    let created = &all[2];
    assert_eq!(created["request_id"], "the-call");
    assert_eq!(created["address"], "127.0.0.1");
    assert_eq!(created["actor"]["kind"], "account_key");
    assert_eq!(
        created["target"],
        json!({"kind": "end_customer", "id": made["id"]})
    );
    assert_eq!(created["hash"].as_str().unwrap().len(), 64);
    let text = json!(all).to_string();
    for secret in [&company.live, &company.test, made["apiKey"].as_str().unwrap()] {
        assert!(!text.contains(secret));
    }
}

#[tokio::test]
async fn the_trail_is_filtered_and_paged() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    assert_eq!(events(&plane, "action=account.created").await.len(), 2);
    assert_eq!(
        events(&plane, &format!("customer_id={}&action=key.created", other.id))
            .await
            .len(),
        1
    );
    assert_eq!(events(&plane, "from=2099-01-01").await.len(), 0);
    assert_eq!(events(&plane, "to=2020-01-01").await.len(), 0);
    let actor = events(&plane, "action=account.created").await[0]["actor"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(events(&plane, &format!("actor={actor}")).await.len(), 4);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = plane
            .admin("GET", format!("/admin/audit?limit=2{cursor}"))
            .send()
            .await
            .expect(200)
            .json();
        seen.extend(page["events"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, events(&plane, "limit=1000").await);
    for bad in ["limit=0", "cursor=x", "from=nonsense"] {
        let answer = plane.admin("GET", format!("/admin/audit?{bad}")).send().await;
        answer.expect_error(400, "invalid_request");
    }
    drop(acme);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/audit",
        least: Role::Viewer,
        allow: &["GET", "HEAD"],
    }
}
