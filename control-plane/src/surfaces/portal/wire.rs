//! How the portal API writes an end customer.

use std::fmt;

use keyward_contract::{Environment, PlainKey, UnixMillis};
use serde::Serialize;

use crate::domain::customer::EndCustomer;

/// An end customer; `apiKey` is there where the endpoint shows it, and null when there is none to show.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer<'a> {
    object: &'static str,
    id: &'a str,
    name: &'a str,
    environment: Environment,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<Option<&'a str>>,
    created_at: String,
    updated_at: String,
    last_used_at: Option<String>,
}

impl<'a> Customer<'a> {
    /// Without its key.
    #[must_use]
    pub fn new(customer: &'a EndCustomer, last_used_at: Option<UnixMillis>) -> Self {
        Self {
            object: "customer",
            id: customer.id.as_str(),
            name: customer.name.as_str(),
            environment: customer.environment,
            api_key: None,
            created_at: customer.created_at.to_rfc3339_millis(),
            updated_at: customer.updated_at.to_rfc3339_millis(),
            last_used_at: last_used_at.map(UnixMillis::to_rfc3339_millis),
        }
    }

    /// With its key in clear.
    #[must_use]
    pub fn with_key(self, key: Option<&'a PlainKey>) -> Self {
        Self {
            api_key: Some(key.map(PlainKey::expose)),
            ..self
        }
    }
}

impl fmt::Debug for Customer<'_> {
    /// Without the key, which is in clear here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
