//! The REST surfaces, as partners and operators call them.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By<'a> {
    /// An operator.
    Admin(&'a str),
    /// A partner.
    Account(&'a str),
}

/// A control plane's API listener.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    url: String,
    client: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// A change that so many gateways have put in force.
    #[track_caller]
    pub(crate) fn in_force_at(self, gateways: usize) -> Self {
        let told = self.header("keyward-propagation");
        assert_eq!(
            told,
            format!("complete; gateways={gateways}"),
            "{} {}",
            self.status,
            self.text
        );
        self
    }
}

/// An account with a production key.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) key_id: String,
    pub(crate) key: String,
}

/// An end customer.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Api {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        let (url, client) = (url.into(), keyward_harness::http_client().unwrap());
        Self { url, client }
    }

    /// Calls with a JSON body; [`Value::Null`] is none.
    pub(crate) async fn call(&self, by: By<'_>, method: Method, path: &str, body: Value) -> Answer {
        let (content_type, body) = match body {
            Value::Null => (None, Vec::new()),
            body => (Some("application/json"), body.to_string().into_bytes()),
        };
        self.send(by, method, path, content_type, body).await
    }

    pub(crate) async fn send(
        &self,
        by: By<'_>,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = match by {
            By::Admin(key) => request.header("x-api-key", key),
            By::Account(key) => request.bearer_auth(key),
        };
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        let response = request.body(body).send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    /// Makes an account on the custom tier with this rate and burst.
    pub(crate) async fn account(&self, admin: &str, rate: u32, burst: u32) -> Account {
        let fields = json!({
            "company_name": "Acme", "contact_email": "api@acme.example", "tier": "custom",
            "overrides": { "rate_limit": rate, "burst_limit": burst },
        });
        let made = self
            .call(By::Admin(admin), Method::POST, "/admin/customers", fields)
            .await
            .expect(201)
            .json();
        Account {
            id: text(&made["customer"]["customer_id"]),
            key_id: text(&made["customer"]["api_key_id"]),
            key: text(&made["api_key"]),
        }
    }

    /// Makes an end customer through the portal API.
    pub(crate) async fn customer(&self, account_key: &str, name: &str) -> Customer {
        let fields = json!({ "name": name });
        let made = self
            .call(By::Account(account_key), Method::POST, "/customers", fields)
            .await;
        let made = made.expect(201).json();
        Customer {
            id: text(&made["id"]),
            key: text(&made["apiKey"]),
        }
    }
}

/// The text that must be there.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text but {value}"))
        .to_owned()
}
