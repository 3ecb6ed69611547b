//! `/admin/customers/{customer_id}/users`

mod create;
mod delete;
mod list;
mod show;
mod update;

use serde_json::{Value, json};

use crate::plane::{Answer, Plane};

/// An id that nothing has.
const UNKNOWN: &str = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";

fn users(account: &str) -> String {
    format!("/admin/customers/{account}/users")
}

fn one(account: &str, user: &Value) -> String {
    format!("{}/{}", users(account), user["user_id"].as_str().unwrap())
}

async fn post(plane: &Plane, account: &str, body: &Value) -> Answer {
    plane.admin("POST", users(account)).json(body).send().await
}

/// A user with these claims, as the admin API shows it.
pub(crate) async fn make(plane: &Plane, account: &str, claims: &[&str]) -> Value {
    let body = json!({"name": "Ada", "email": "ada@acme.example", "claims": claims});
    post(plane, account, &body).await.expect(201).json()
}

async fn cancel(plane: &Plane, account: &str) {
    let path = format!("/admin/customers/{account}");
    plane.admin("DELETE", path).send().await.expect(200);
}

/// A 400 that names this field.
#[track_caller]
fn expect_invalid(answer: Answer, field: &str) {
    let body = answer.expect_error(400, "invalid_request").json();
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("`{field}` ")), "{message}");
}

/// What the audit trail says of the newest event with this action.
async fn audited(plane: &Plane, action: &str) -> Value {
    let path = format!("/admin/audit?action={action}&limit=1");
    let told = plane.admin("GET", path).send().await.expect(200).json();
    told["events"][0].clone()
}
