//! `/admin/customers`: one file per endpoint.

use serde_json::{Value, json};

use crate::plane::{Answer, Plane};

mod create;
mod delete;
mod list;
mod show;
mod update;

pub(super) fn acme() -> Value {
    json!({"company_name": "Acme Financial", "contact_email": "it@acme.example", "tier": "growth"})
}

pub(super) async fn create(plane: &Plane, body: &Value) -> Answer {
    plane.admin("POST", "/admin/customers").json(body).send().await
}

pub(super) fn path(customer: &Value) -> String {
    format!("/admin/customers/{}", customer["customer_id"].as_str().unwrap())
}

pub(super) async fn put(plane: &Plane, customer: &Value, body: &Value) -> Answer {
    plane.admin("PUT", path(customer)).json(body).send().await
}

/// What can't be the path of an account: unknown, malformed, and another kind of id.
fn nowhere() -> Vec<String> {
    [
        crate::admin::NOBODY,
        "x",
        "0123456789abcdef",
        "%00",
        "clx8f2k9h0001qr5tgvwxyz12",
    ]
    .map(|id| format!("/admin/customers/{id}"))
    .to_vec()
}
