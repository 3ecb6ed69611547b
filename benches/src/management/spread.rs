//! How long a change takes until a gateway acts by it: an account with ten thousand keys is suspended and made active
//! again through the admin API, while a partner calls the gateway all the time.
//!
//! With two control planes on one database the change is made on the one and the gateway hears it from the other.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use keyward_config::ControlPlaneConfig;
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::seed::{self, Plan, Seeded};
use keyward_harness::{
    ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, READY_WITHIN, eventually,
    http_client,
};
use reqwest::Client;

use super::{CONFIGURATION, pin};
use crate::responder;

/// With the account's own key.
pub const KEYS: usize = 10_000;
/// How often the account is suspended, and made active again.
pub const TIMES: usize = 10;
/// How many of the keys are called with when a change was answered; the tests of the workspace call with all.
const ASKED: usize = 50;
/// Whose limits nobody reaches.
const TIER: &str = "[[tiers]]\nkey = \"measured\"\nname = \"Measured\"\nannual_price = 0\n\
                    annual_limit = 1000000000000\nrate_limit = \"1000000/s\"\nburst_limit = 1000000\nsla = \"99.9%\"\n";

/// Whom the gateway follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// The control plane that changes are made on.
    TheSame,
    /// Another one on the same database.
    Another,
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until the call was answered with `Keyward-Propagation: complete`.
    pub answered: Duration,
    /// Until the gateway first answered by it.
    pub in_force: Duration,
}

/// All changes of one kind.
#[derive(Debug)]
pub struct Spread {
    /// What the account became.
    pub status: &'static str,
    /// How long each took.
    pub took: Vec<Took>,
}

/// Makes the changes in a fresh database, at `url` or in a file of `folder`; all programs but the database server
/// run on `core`.
///
/// # Errors
/// When something doesn't start, a change isn't acknowledged by the gateway, or a key is served when it mustn't be.
pub async fn measure(
    folder: &Path,
    url: Option<&str>,
    follows: Follows,
    core: usize,
) -> anyhow::Result<Vec<Spread>> {
    let stack = Stack::start(folder, url, follows, core).await?;
    let mut spreads = [("suspended", 403), ("active", 200)].map(|(status, answered)| {
        let took = Vec::with_capacity(TIMES);
        (answered, Spread { status, took })
    });
    for _ in 0..TIMES {
        for (answered, spread) in &mut spreads {
            spread.took.push(stack.change(spread.status, *answered).await?);
            stack.all_are(*answered).await?;
        }
    }
    Ok(spreads.map(|(_, spread)| spread).into())
}

struct Stack {
    account: Seeded,
    admin_key: String,
    client: Client,
    gateway: GatewayProcess,
    control_plane: ControlPlaneProcess,
    _another: Option<ControlPlaneProcess>,
}

impl Stack {
    async fn start(folder: &Path, url: Option<&str>, follows: Follows, core: usize) -> anyhow::Result<Self> {
        let control_plane = start(&folder.join("control-plane"), url, core).await?;
        let another = match follows {
            Follows::TheSame => None,
            Follows::Another => Some(beside(&control_plane, &folder.join("another"), url, core).await?),
        };
        let account = seed(&control_plane).await?;
        let followed = another.as_ref().unwrap_or(&control_plane);
        let upstream: SocketAddr = responder::start().await?;
        let mut setup = GatewaySetup::new(folder.join("gateway"), followed, upstream)
            .settings("workers = 1\n")
            .env("KEYWARD_LOG", "warn");
        setup.core = Some(core);
        let stack = Self {
            account,
            admin_key: control_plane.admin_key("benchmark")?,
            client: http_client()?,
            gateway: GatewayProcess::start(&setup).await?,
            control_plane,
            _another: another,
        };
        eventually(READY_WITHIN, || async { stack.all_are(200).await }).await?;
        Ok(stack)
    }

    /// Gives the account a status; the gateway will then answer with `expected`.
    async fn change(&self, status: &str, expected: u16) -> anyhow::Result<Took> {
        let started = Instant::now();
        let answered = async {
            let path = format!("/admin/customers/{}", self.account.account_id);
            let call = self
                .client
                .patch(format!("{}{path}", self.control_plane.api_url()))
                .header("x-api-key", &self.admin_key)
                .header("content-type", "application/json")
                .body(serde_json::json!({ "status": status }).to_string());
            let answer = call.send().await?.error_for_status()?;
            let took = started.elapsed();
            let told = answer.headers().get("keyward-propagation");
            let told = told.and_then(|told| told.to_str().ok()).unwrap_or_default();
            ensure!(
                told.starts_with("complete"),
                "{status} was answered with propagation {told:?}"
            );
            anyhow::Ok(took)
        };
        let in_force = async {
            while self.call(0).await? != expected {
                ensure!(
                    started.elapsed() < READY_WITHIN,
                    "{status} never reached the gateway"
                );
            }
            anyhow::Ok(started.elapsed())
        };
        let (answered, in_force) = tokio::try_join!(answered, in_force)?;
        Ok(Took { answered, in_force })
    }

    async fn all_are(&self, expected: u16) -> anyhow::Result<()> {
        let step = self.account.customer_keys.len().div_ceil(ASKED).max(1);
        for number in (0..self.account.customer_keys.len()).step_by(step) {
            let status = self.call(number).await?;
            ensure!(
                status == expected,
                "key {number} was answered with {status}, not {expected}"
            );
        }
        Ok(())
    }

    async fn call(&self, number: usize) -> anyhow::Result<u16> {
        let key = self.account.customer_keys.get(number).context("no such key")?;
        let call = self
            .client
            .get(self.gateway.url())
            .header("x-api-key", self.account.account_key.expose())
            .header("x-customer-key", key.expose());
        let answer = call.send().await?;
        let status = answer.status().as_u16();
        // Read to its end, so that the connection serves again.
        answer.bytes().await?;
        Ok(status)
    }
}

async fn start(folder: &Path, url: Option<&str>, core: usize) -> anyhow::Result<ControlPlaneProcess> {
    let mut setup = ControlPlaneSetup::new(folder)?
        .configured(CONFIGURATION)
        .configured(TIER)
        .env("KEYWARD_LOG", "warn");
    if let Some(url) = url {
        setup = setup.on_database(url);
    }
    let control_plane = ControlPlaneProcess::start(&setup).await?;
    pin(control_plane.process().pid(), core)?;
    Ok(control_plane)
}

/// Another control plane with the same secrets.
async fn beside(
    first: &ControlPlaneProcess,
    folder: &Path,
    url: Option<&str>,
    core: usize,
) -> anyhow::Result<ControlPlaneProcess> {
    std::fs::create_dir_all(folder)?;
    for secret in ["master.key", "digest.key", "gateway.token"] {
        std::fs::copy(first.folder().join(secret), folder.join(secret))?;
    }
    start(folder, url, core).await
}

/// Makes the account, beside the running control plane.
async fn seed(control_plane: &ControlPlaneProcess) -> anyhow::Result<Seeded> {
    let config = ControlPlaneConfig::load(&control_plane.folder().join("control-plane.toml"))?;
    let (registry, _) = ControlPlane::open(&config).await?;
    let plan = Plan {
        accounts: 1,
        customers_per_account: KEYS - 1,
        tier: "measured".to_owned(),
    };
    let mut seeded = seed::run(&registry, &plan).await?;
    seeded.pop().context("no account was made")
}
