//! The ways in which rights end, over all surfaces, and keys whose rights will end.

use reqwest::Method;
use serde_json::{Value, json};

use super::rest::{Account, By, Rest, Told};

const USER_KEYS: &str = "/api/v1/psp/product-manager/customer-user-api-keys";

/// A way in which rights end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Surface 1: an end customer is deleted.
    CustomerDeleted,
    /// Surface 1: its key is rotated.
    CustomerRotated,
    /// Surface 2: an account key is revoked.
    KeyRevoked,
    /// Surface 2: an account key is rotated without grace.
    KeyRotated,
    /// Surface 2: an account is suspended.
    AccountSuspended,
    /// Surface 3: a key is deleted.
    CompanyKeyDeleted,
    /// Surface 3: a key may only be used from elsewhere.
    AddressesNarrowed,
    /// Surface 4: a user's key is disabled.
    UserKeyDisabled,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CustomerDeleted,
        Self::CustomerRotated,
        Self::KeyRevoked,
        Self::KeyRotated,
        Self::AccountSuspended,
        Self::CompanyKeyDeleted,
        Self::AddressesNarrowed,
        Self::UserKeyDisabled,
    ];
}

/// Keys whose rights will end, and the call that ends them.
#[derive(Clone)]
pub struct Victim {
    /// How they will end.
    pub ending: Ending,
    /// A call of a gateway with the keys, whole.
    pub request: String,
    method: Method,
    path: String,
    body: Value,
    /// The key of the partner who ends them; `None`: the operator.
    partner: Option<String>,
}

impl Victim {
    /// Ends the rights.
    ///
    /// # Errors
    /// When the call isn't answered with a 2xx.
    pub async fn end(&self, rest: &Rest) -> anyhow::Result<Told> {
        let by = self.partner.as_deref().map_or(By::Operator, By::Partner);
        rest.call(by, self.method.clone(), &self.path, self.body.clone())
            .await
    }
}

/// A company with a user, for whom keys are made.
pub struct Company {
    account: Account,
    user: String,
    /// The user's own key.
    user_key: String,
}

impl Company {
    /// Makes one.
    ///
    /// # Errors
    /// When the control plane says no.
    pub async fn make(rest: &Rest) -> anyhow::Result<Self> {
        let account = rest.account().await?;
        let path = format!("/admin/customers/{}", account.id);
        let user = json!({"name": "Ada", "email": "ada@acme.example", "claims": ["Issuer_Dev"]});
        let user = rest
            .call(By::Operator, Method::POST, &format!("{path}/users"), user)
            .await?;
        let user = user.text("/user_id")?;
        let key = json!({"name": "first", "user_id": user});
        let key = rest
            .call(By::Operator, Method::POST, &format!("{path}/api-keys"), key)
            .await?;
        Ok(Self {
            user_key: key.text("/api_key")?,
            account,
            user,
        })
    }

    /// Makes keys whose rights will end so.
    ///
    /// # Errors
    /// When the control plane says no.
    pub async fn victim(&self, rest: &Rest, ending: Ending) -> anyhow::Result<Victim> {
        match ending {
            Ending::CustomerDeleted | Ending::CustomerRotated => self.end_customer(rest, ending).await,
            Ending::KeyRevoked | Ending::KeyRotated => self.operators_key(rest, ending).await,
            Ending::AccountSuspended => suspended(rest).await,
            Ending::CompanyKeyDeleted | Ending::AddressesNarrowed => self.company_key(rest, ending).await,
            Ending::UserKeyDisabled => self.users_key(rest).await,
        }
    }

    async fn end_customer(&self, rest: &Rest, ending: Ending) -> anyhow::Result<Victim> {
        let by = By::Partner(&self.account.key);
        let name = another_name();
        let made = rest
            .call(by, Method::POST, "/customers", json!({"name": name}))
            .await?;
        let path = format!("/customers/{}", made.text("/id")?);
        let (method, path) = match ending {
            Ending::CustomerRotated => (Method::POST, format!("{path}/rotate-key")),
            _ => (Method::DELETE, path),
        };
        Ok(Victim {
            ending,
            request: request("/", &self.account.key, Some(&made.text("/apiKey")?)),
            method,
            path,
            body: Value::Null,
            partner: Some(self.account.key.clone()),
        })
    }

    async fn operators_key(&self, rest: &Rest, ending: Ending) -> anyhow::Result<Victim> {
        let path = format!("/admin/customers/{}/api-keys", self.account.id);
        let made = rest.call(By::Operator, Method::POST, &path, json!({})).await?;
        let path = format!("{path}/{}", made.text("/api_key_id")?);
        let (method, path, body) = match ending {
            Ending::KeyRotated => (
                Method::POST,
                format!("{path}/rotate"),
                json!({"grace_seconds": 0}),
            ),
            _ => (Method::DELETE, path, Value::Null),
        };
        Ok(Victim {
            ending,
            request: request("/a", &made.text("/api_key")?, None),
            method,
            path,
            body,
            partner: None,
        })
    }

    async fn company_key(&self, rest: &Rest, ending: Ending) -> anyhow::Result<Victim> {
        let by = By::Partner(&self.account.key);
        let made = rest
            .call(by, Method::POST, "/keys", json!({"userId": self.user}))
            .await?;
        let (method, body) = match ending {
            Ending::AddressesNarrowed => (Method::PUT, json!({"whitelistedIPs": ["203.0.113.0/24"]})),
            _ => (Method::DELETE, Value::Null),
        };
        Ok(Victim {
            ending,
            request: request("/a", &made.text("/key")?, None),
            method,
            path: format!("/keys/{}", made.text("/id")?),
            body,
            partner: Some(self.account.key.clone()),
        })
    }

    async fn users_key(&self, rest: &Rest) -> anyhow::Result<Victim> {
        let by = By::Partner(&self.user_key);
        let made = rest
            .call(by, Method::POST, USER_KEYS, json!({"name": "ci"}))
            .await?;
        Ok(Victim {
            ending: Ending::UserKeyDisabled,
            request: request("/a", &made.text("/rawKey")?, None),
            method: Method::PATCH,
            path: format!("{USER_KEYS}/{}", made.body["id"]),
            body: json!({"status": "inactive"}),
            partner: Some(self.user_key.clone()),
        })
    }

    /// A call with the company's own key, which nobody ends.
    #[must_use]
    pub fn request(&self) -> String {
        request("/a", &self.account.key, None)
    }
}

async fn suspended(rest: &Rest) -> anyhow::Result<Victim> {
    let account = rest.account().await?;
    Ok(Victim {
        ending: Ending::AccountSuspended,
        request: request("/a", &account.key, None),
        method: Method::PATCH,
        path: format!("/admin/customers/{}", account.id),
        body: json!({"status": "suspended"}),
        partner: None,
    })
}

/// A name that no other end customer has.
fn another_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("Customer {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A call of a gateway: `/a` needs an account key, every other path both.
#[must_use]
pub fn request(path: &str, account_key: &str, customer_key: Option<&str>) -> String {
    let customer = customer_key
        .map(|key| format!("X-Customer-Key: {key}\r\n"))
        .unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: {account_key}\r\n{customer}\r\n")
}
