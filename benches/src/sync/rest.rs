//! The REST surfaces as operators and partners call them, and how long each call took.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use keyward_harness::{ControlPlaneProcess, http_client, metric};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// Nobody measured is slowed down.
pub const CONFIGURATION: &str = "[management_limits]\nportal = { rate = \"1000000/s\", burst = 1000000 }\n\
                                 others = { rate = \"1000000/s\", burst = 1000000 }\n";

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The operator.
    Operator,
    /// The holder of an account key.
    Partner(&'a str),
}

/// A control plane's API listener.
#[derive(Clone)]
pub struct Rest {
    url: String,
    metrics: String,
    operator: String,
    client: Client,
}

/// A 2xx.
#[derive(Debug)]
pub struct Told {
    /// Its body; null when there is none.
    pub body: Value,
    /// `Keyward-Propagation`.
    pub propagation: String,
    /// From before the call was sent until its answer had been read.
    pub took: Duration,
    /// When the answer had been read.
    pub at: Instant,
}

impl Told {
    /// Whether so many gateways had it in force, and none was missing.
    #[must_use]
    pub fn is_complete_at(&self, gateways: usize) -> bool {
        self.propagation == format!("complete; gateways={gateways}")
    }

    /// A text of the body.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn text(&self, pointer: &str) -> anyhow::Result<String> {
        let text = self.body.pointer(pointer).and_then(Value::as_str);
        Ok(text
            .with_context(|| format!("no {pointer} in {}", self.body))?
            .to_owned())
    }
}

/// An account with a production key.
#[derive(Clone)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its key.
    pub key: String,
}

impl Rest {
    /// Calls of a new operator of this control plane.
    ///
    /// # Errors
    /// When no admin key can be made.
    pub fn of(control_plane: &ControlPlaneProcess) -> anyhow::Result<Self> {
        Self::by(control_plane, control_plane.admin_key("benchmark")?)
    }

    /// Calls of an operator who is known.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn by(control_plane: &ControlPlaneProcess, operator: String) -> anyhow::Result<Self> {
        Ok(Self {
            url: control_plane.api_url(),
            metrics: format!("{}/metrics", control_plane.admin_url()),
            operator,
            client: http_client()?,
        })
    }

    /// The operator's key.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Calls with a JSON body; null is none.
    ///
    /// # Errors
    /// When it isn't answered with a 2xx.
    pub async fn call(&self, by: By<'_>, method: Method, path: &str, body: Value) -> anyhow::Result<Told> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = match by {
            By::Operator => request.header("x-api-key", &self.operator),
            By::Partner(key) => request.bearer_auth(key),
        };
        let request = match body {
            Value::Null => request,
            body => request
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        let began = Instant::now();
        let answer = request.send().await?;
        let status = answer.status();
        let propagation = answer.headers().get("keyward-propagation");
        let propagation = propagation
            .and_then(|told| told.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let text = answer.text().await?;
        let at = Instant::now();
        ensure!(status.is_success(), "{path} was answered with {status}: {text}");
        Ok(Told {
            body: serde_json::from_str(&text).unwrap_or_default(),
            propagation,
            took: at - began,
            at,
        })
    }

    /// Makes an account whose limits nobody reaches.
    ///
    /// # Errors
    /// When the control plane says no.
    pub async fn account(&self) -> anyhow::Result<Account> {
        let fields = json!({
            "company_name": "Acme", "contact_email": "it@acme.example", "tier": "custom",
            "overrides": {"rate_limit": 1_000_000, "burst_limit": 1_000_000},
        });
        let made = self
            .call(By::Operator, Method::POST, "/admin/customers", fields)
            .await?;
        Ok(Account {
            id: made.text("/customer/customer_id")?,
            key: made.text("/api_key")?,
        })
    }

    /// How many changes were complete, and how long all of them together took from their commits on.
    ///
    /// # Errors
    /// When the control plane doesn't answer.
    pub async fn complete(&self) -> anyhow::Result<(f64, Duration)> {
        let page = self.metrics().await?;
        let of = |name: &str| {
            let name = format!("keyward_revocation_propagation_seconds_{name}");
            metric(&page, &name, &["result=\"complete\""]).unwrap_or_default()
        };
        Ok((of("count"), Duration::from_secs_f64(of("sum"))))
    }

    /// The control plane's metrics.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.client.get(&self.metrics).send().await?.text().await?)
    }

    /// The newest revision.
    ///
    /// # Errors
    /// When the control plane doesn't answer.
    pub async fn newest_revision(&self) -> anyhow::Result<u64> {
        let told = self.gateways().await?;
        told["revision"].as_u64().context("no revision")
    }

    /// How many gateways are connected to any control plane of this database and hold this revision or a later one.
    ///
    /// # Errors
    /// When the control plane doesn't answer.
    pub async fn gateways_at(&self, revision: u64) -> anyhow::Result<usize> {
        let told = self.gateways().await?;
        let gateways = told["gateways"].as_array().context("no gateways")?.iter();
        let is_there = |gateway: &&Value| {
            gateway["state"] == "connected"
                && gateway["revision"].as_u64().is_some_and(|held| held >= revision)
        };
        Ok(gateways.filter(is_there).count())
    }

    async fn gateways(&self) -> anyhow::Result<Value> {
        let told = self
            .call(By::Operator, Method::GET, "/admin/gateways", Value::Null)
            .await?;
        Ok(told.body)
    }
}
