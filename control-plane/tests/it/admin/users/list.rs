//! `GET /admin/customers/{customer_id}/users`

use serde_json::{Value, json};

use super::{UNKNOWN, cancel, expect_invalid, make, one, users};
use crate::plane::Plane;

async fn page(plane: &Plane, account: &str, query: &str) -> Value {
    let path = format!("{}{query}", users(account));
    plane.admin("GET", path).send().await.expect(200).json()
}

fn ids(page: &Value) -> Vec<Value> {
    let users = page["users"].as_array().unwrap().iter();
    users.map(|user| user["user_id"].clone()).collect()
}

#[tokio::test]
async fn an_account_s_users_are_listed_newest_first() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    assert_eq!(
        page(&plane, &acme.id, "").await,
        json!({"users": [], "next_cursor": null})
    );
    let first = make(&plane, &acme.id, &["Super_Dev"]).await;
    let second = make(&plane, &acme.id, &[]).await;
    make(&plane, &other.id, &[]).await;
    let gone = make(&plane, &acme.id, &[]).await;
    plane
        .admin("DELETE", one(&acme.id, &gone))
        .send()
        .await
        .expect(204);
    let listed = page(&plane, &acme.id, "").await;
    assert_eq!(
        ids(&listed),
        [second["user_id"].clone(), first["user_id"].clone()]
    );
    let redactions = "[…]";
    insta::assert_json_snapshot!(
        listed,
        {".users[].user_id" => redactions, ".users[].sub" => redactions, ".users[].created_at" => redactions},
        @r#"
    {
      "users": [
        {
          "user_id": "[…]",
          "sub": "[…]",
          "name": "Ada",
          "email": "ada@acme.example",
          "claims": [],
          "permissions": [],
          "status": "active",
          "created_at": "[…]"
        },
        {
          "user_id": "[…]",
          "sub": "[…]",
          "name": "Ada",
          "email": "ada@acme.example",
          "claims": [
            "Super_Dev"
          ],
          "permissions": [],
          "status": "active",
          "created_at": "[…]"
        }
      ],
      "next_cursor": null
    }
    "#
    );
    // What an account had can be read when it is gone.
    cancel(&plane, &acme.id).await;
    assert_eq!(ids(&page(&plane, &acme.id, "").await).len(), 2);
}

#[tokio::test]
async fn pages_repeat_none_and_skip_none_while_users_come_and_go() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let mut stood = Vec::new();
    for _ in 0..5 {
        stood.push(make(&plane, &company.id, &[]).await["user_id"].clone());
    }
    stood.reverse();
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let listed = page(&plane, &company.id, &query).await;
        seen.extend(ids(&listed));
        // Newer than all that is still to come.
        make(&plane, &company.id, &[]).await;
        let Some(cursor) = listed["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, stood);
    assert_eq!(ids(&page(&plane, &company.id, "?limit=1000").await).len(), 8);
}

#[tokio::test]
async fn a_bad_parameter_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=1", "limit"),
        ("cursor=", "cursor"),
        ("cursor=nonsense", "cursor"),
        ("cursor=MS54", "cursor"),
    ] {
        let path = format!("{}?{query}", users(&company.id));
        expect_invalid(plane.admin("GET", path).send().await, field);
    }
}

#[tokio::test]
async fn an_unknown_account_has_no_list() {
    let plane = Plane::start().await;
    for account in [UNKNOWN, "acme"] {
        let answer = plane.admin("GET", users(account)).send().await;
        answer.expect_error(404, "not_found");
    }
}
