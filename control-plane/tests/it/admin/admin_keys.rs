//! `/admin/admin-keys`: one file per endpoint.

use serde_json::Value;

use crate::plane::Plane;

mod create;
mod list;
mod revoke;

pub(super) async fn entry(plane: &Plane, made: &Value) -> Value {
    let listed = plane
        .admin("GET", "/admin/admin-keys")
        .send()
        .await
        .expect(200)
        .json();
    let mut keys = listed["admin_keys"].as_array().unwrap().iter();
    keys.find(|key| key["admin_key_id"] == made["admin_key_id"])
        .unwrap()
        .clone()
}
