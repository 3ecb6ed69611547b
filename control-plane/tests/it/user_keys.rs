//! Surface 4.

mod any_endpoint;
mod create;
mod delete;
mod list;
mod tokens;
mod update;
mod usage;

use serde_json::{Value, json};

use crate::admin::users;
use crate::plane::{Answer, Call, Plane};

pub(crate) const PATH: &str = "/api/v1/psp/product-manager/customer-user-api-keys";

/// A user with an account key of its own, as surface 3 makes them.
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) sub: String,
    pub(crate) account: String,
    pub(crate) key: String,
}

impl Person {
    /// A call with its key.
    pub(crate) fn call<'p>(&self, plane: &'p Plane, method: &str, path: impl Into<String>) -> Call<'p> {
        plane.call(method, path).header("x-api-key", &self.key)
    }
}

/// A person of an account with these claims, with a key for production.
pub(crate) async fn person(plane: &Plane, account: &str, claims: &[&str]) -> Person {
    person_in(plane, account, claims, "production").await
}

/// A person of an account with these claims, with a key for an environment.
pub(crate) async fn person_in(plane: &Plane, account: &str, claims: &[&str], environment: &str) -> Person {
    let user = users::make(plane, account, claims).await;
    let key = plane
        .account_key(account, &json!({"environment": environment}))
        .await;
    let person = Person {
        id: user["user_id"].as_str().unwrap().to_owned(),
        sub: user["sub"].as_str().unwrap().to_owned(),
        account: account.to_owned(),
        key: key["api_key"].as_str().unwrap().to_owned(),
    };
    let sql = "UPDATE api_keys SET user_id = $1, origin = 'keys' WHERE id = $2";
    let id = key["api_key_id"].as_str().unwrap();
    plane.execute(sql, &[&person.id, id]).await;
    person
}

/// A key that a person makes in its own environment.
pub(crate) async fn create(plane: &Plane, person: &Person, name: &str) -> Value {
    let call = person.call(plane, "POST", PATH).json(&json!({"name": name}));
    call.send().await.expect(201).json()
}

/// The paths of an environment's keys.
async fn within(plane: &Plane, account: &str, kind: &str) -> String {
    format!("/environments/{}{PATH}", environment(plane, account, kind).await)
}

async fn environment(plane: &Plane, account: &str, kind: &str) -> String {
    let path = format!("/admin/customers/{account}");
    let shown = plane.admin("GET", path).send().await.expect(200).json();
    let environments = shown["environments"].as_array().unwrap();
    let found = environments
        .iter()
        .find(|environment| environment["kind"] == kind);
    found.unwrap()["environment_id"].as_str().unwrap().to_owned()
}

async fn set_limit(plane: &Plane, account: &str, kind: &str, limit: u32) {
    let environment = environment(plane, account, kind).await;
    let path = format!("/admin/customers/{account}/environments/{environment}");
    let body = json!({"user_key_limit": limit});
    plane.admin("PUT", path).json(&body).send().await.expect(200);
}

async fn listed(plane: &Plane, person: &Person, path: &str) -> Vec<Value> {
    let listed = person.call(plane, "GET", path).send().await.expect(200).json();
    listed.as_array().unwrap().clone()
}

fn ids(keys: &[Value]) -> Vec<i64> {
    keys.iter().map(id).collect()
}

fn id(key: &Value) -> i64 {
    key["id"].as_i64().unwrap()
}

fn one(key: &Value) -> String {
    format!("{PATH}/{}", id(key))
}

/// A refusal of this surface in its whole form, with this in its message.
#[track_caller]
fn expect_refusal(answer: Answer, status: u16, message: &str) {
    let answer = answer.expect(status);
    let body = answer.json();
    let fields: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["statusCode", "message", "error", "requestId"]);
    assert_eq!(body["statusCode"], status);
    assert_eq!(body["error"], answer.status.canonical_reason().unwrap());
    assert_eq!(body["requestId"], answer.header("x-request-id").unwrap());
    let said = body["message"].as_str().unwrap();
    assert!(said.contains(message), "{said}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[track_caller]
fn expect_missing(answer: Answer) {
    expect_refusal(answer, 404, "Api key not found.");
}
