//! `/admin/customers/{customer_id}/api-keys`: one file per endpoint.

use serde_json::Value;

use crate::plane::{Answer, Company, Plane};

mod create;
mod list;
mod revoke;
mod rotate;
pub(super) mod update;

pub(super) fn keys(company: &Company) -> String {
    format!("/admin/customers/{}/api-keys", company.id)
}

pub(super) fn one(company: &Company, key: &Value) -> String {
    format!("{}/{}", keys(company), key["api_key_id"].as_str().unwrap())
}

pub(super) async fn rotate(plane: &Plane, company: &Company, key: &Value, body: &Value) -> Answer {
    let path = format!("{}/rotate", one(company, key));
    plane.admin("POST", path).json(body).send().await
}

pub(super) async fn shown(plane: &Plane, company: &Company, key: &Value) -> Value {
    let listed = plane.admin("GET", keys(company)).send().await.expect(200).json();
    let listed = listed["api_keys"].as_array().unwrap().iter();
    listed
        .clone()
        .find(|listed| listed["api_key_id"] == key["api_key_id"])
        .unwrap()
        .clone()
}

pub(super) async fn status_of(plane: &Plane, key: &Value) -> u16 {
    let call = plane
        .call("GET", "/customers")
        .key(key["api_key"].as_str().unwrap());
    call.send().await.status.as_u16()
}
