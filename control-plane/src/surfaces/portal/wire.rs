//! How the portal API writes an end customer, and what it reads of one.

use keyward_contract::{Environment, PlainKey, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::customer::EndCustomer;
use crate::operations::end_customers::Found;

/// An end customer, without its key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "object": "customer", "id": "clx8f2k9h0001qr5tgvwxyz12", "name": "Acme University",
    "environment": "production", "createdAt": "2026-01-19T10:30:00.000Z",
    "updatedAt": "2026-01-19T10:30:00.000Z", "lastUsedAt": null,
}))]
pub struct Customer<'a> {
    /// Always `customer`.
    #[schema(pattern = "^customer$", example = "customer")]
    object: &'static str,
    /// The id: `c` and 24 characters of `0-9a-z`.
    #[schema(pattern = "^c[0-9a-z]{24}$")]
    id: &'a str,
    /// Unique in its account and environment.
    #[schema(min_length = 1, max_length = 255)]
    name: &'a str,
    /// The environment of the account key that made it.
    #[schema(value_type = String, pattern = "^(test|production)$")]
    environment: Environment,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was changed last.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When a gateway last accepted its key.
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
}

/// An end customer with its key in clear.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "object": "customer", "id": "clx8f2k9h0001qr5tgvwxyz12", "name": "Acme University",
    "environment": "production", "apiKey": "ck_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3",
    "createdAt": "2026-01-19T10:30:00.000Z", "updatedAt": "2026-01-19T10:30:00.000Z", "lastUsedAt": null,
}))]
pub struct CustomerWithKey<'a> {
    /// Always `customer`.
    #[schema(pattern = "^customer$", example = "customer")]
    object: &'static str,
    /// The id: `c` and 24 characters of `0-9a-z`.
    #[schema(pattern = "^c[0-9a-z]{24}$")]
    id: &'a str,
    /// Unique in its account and environment.
    #[schema(min_length = 1, max_length = 255)]
    name: &'a str,
    /// The environment of the account key that made it.
    #[schema(value_type = String, pattern = "^(test|production)$")]
    environment: Environment,
    /// Its key; null when that was revoked or lost.
    #[schema(required = true, pattern = "^ck_(live|test)_[0-9A-Za-z]{38}$")]
    api_key: Option<&'a str>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was changed last.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When a gateway last accepted its key.
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
}

impl<'a> Customer<'a> {
    /// How it is written.
    #[must_use]
    pub fn new(customer: &'a EndCustomer, last_used_at: Option<UnixMillis>) -> Self {
        Self {
            object: "customer",
            id: customer.id.as_str(),
            name: customer.name.as_str(),
            environment: customer.environment,
            created_at: customer.created_at.to_rfc3339_millis(),
            updated_at: customer.updated_at.to_rfc3339_millis(),
            last_used_at: last_used_at.map(UnixMillis::to_rfc3339_millis),
        }
    }
}

impl<'a> CustomerWithKey<'a> {
    /// How it is written. There is no `Debug`: the key is in clear here.
    #[must_use]
    pub fn new(found: &'a Found) -> Self {
        let plain = Customer::new(&found.customer, found.last_used_at);
        Self {
            object: plain.object,
            id: plain.id,
            name: plain.name,
            environment: plain.environment,
            api_key: found.key.as_ref().map(PlainKey::expose),
            created_at: plain.created_at,
            updated_at: plain.updated_at,
            last_used_at: plain.last_used_at,
        }
    }
}

/// An end customer to be made.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"name": "Acme University"}))]
pub struct NewCustomer {
    /// Trimmed and in NFC when it is stored, and unique in the account and environment.
    #[schema(format = "name-255")]
    pub name: String,
}

/// What is to be changed of an end customer.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"name": "Acme College"}))]
pub struct CustomerEdit {
    /// Its new name; left out, nothing changes.
    #[schema(format = "name-255", nullable = false)]
    pub name: Option<String>,
}
