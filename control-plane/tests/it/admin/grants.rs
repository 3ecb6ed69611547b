//! `/admin/customers/{customer_id}/quota-grants`

mod create;
mod list;

use serde_json::{Value, json};

use crate::plane::{Answer, Plane};

fn grants(account: &str) -> String {
    format!("/admin/customers/{account}/quota-grants")
}

async fn post(plane: &Plane, account: &str, body: &Value) -> Answer {
    plane.admin("POST", grants(account)).json(body).send().await
}

/// So many validations more.
pub(crate) async fn grant(plane: &Plane, account: &str, validations: u64) -> Value {
    let body = json!({"validations": validations});
    post(plane, account, &body).await.expect(201).json()
}
