//! `PUT /admin/customers/{customer_id}/environments/{environment_id}`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn an_environments_user_key_limit_is_set_within_its_range() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = format!("/admin/customers/{}", company.id);
    let shown = plane.admin("GET", &customer).send().await.expect(200).json();
    let id = shown["environments"][1]["environment_id"].as_str().unwrap();
    let url = format!("{}/environments/{id}", &customer);
    for limit in [0, 100_000] {
        let set = plane
            .admin("PUT", &url)
            .json(&json!({"user_key_limit": limit}))
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(
            set,
            json!({"environment_id": id, "kind": "production", "user_key_limit": limit})
        );
    }
    for bad in [json!(-1), json!(100_001), json!("5"), json!(null), json!(1.5)] {
        let answer = plane
            .admin("PUT", &url)
            .json(&json!({"user_key_limit": bad}))
            .send()
            .await;
        answer.expect_error(400, "invalid_request");
    }
    for unknown in ["0123456789abcdef", "x"] {
        let url = format!("{}/environments/{unknown}", &customer);
        let answer = plane
            .admin("PUT", url)
            .json(&json!({"user_key_limit": 1}))
            .send()
            .await;
        answer.expect_error(404, "not_found");
    }
}

#[tokio::test]
async fn an_environment_that_is_not_there_is_404_and_a_cancelled_accounts_409() {
    let plane = Plane::start().await;
    let (mine, other) = (plane.company("Acme").await, plane.company("Other").await);
    let account = format!("/admin/customers/{}", mine.id);
    let shown = plane.admin("GET", &account).send().await.expect(200).json();
    let id = shown["environments"][0]["environment_id"].as_str().unwrap();
    let foreign = format!("/admin/customers/{}/environments/{id}", other.id);
    let nobody = format!("/admin/customers/{}/environments/{id}", crate::admin::NOBODY);
    let malformed = format!("{account}/environments/x");
    crate::admin::leads_nowhere(&plane, "PUT", &[foreign, nobody, malformed]).await;
    plane.admin("DELETE", &account).send().await.expect(200);
    let late = plane.admin("PUT", format!("{account}/environments/{id}"));
    let late = late.json(&json!({"user_key_limit": 1})).send().await;
    late.expect_error(409, "conflict");
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
        method: "PUT",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/environments/0123456789abcdef",
        least: Role::Operator,
        allow: &["PUT"],
    }
}
