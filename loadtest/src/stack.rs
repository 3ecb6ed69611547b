//! What the load is put on: a seeded control plane, a gateway with its shipped settings, and an upstream.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use anyhow::Context;
use keyward_harness::{
    ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, SeedPlan, SeededAccount,
    http_client,
};
use keyward_upstream::{Running, Upstream};
use serde_json::Value;

use crate::requests::Credentials;

/// A tier whose limits nobody reaches, and management limits that let the set-up revoke in haste.
const CONFIGURATION: &str = "[management_limits]\n\
    portal = { rate = \"1000000/s\", burst = 1000000 }\nothers = { rate = \"1000000/s\", burst = 1000000 }\n\
    [[tiers]]\nkey = \"loadtest\"\nname = \"Load test\"\nannual_price = 0\nannual_limit = 1000000000000\n\
    rate_limit = \"1000000/s\"\nburst_limit = 1000000\nsla = \"99.9%\"\n";
const REVOKED: usize = 200;

/// How many keys there are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Accounts.
    pub accounts: usize,
    /// End customers of each.
    pub customers_per_account: usize,
}

/// A running stack and the keys to put load on it with.
pub struct Stack {
    /// The gateway.
    pub gateway: GatewayProcess,
    /// Callers who may pass: one for each end customer.
    pub valid: Vec<Credentials>,
    /// Callers whose account key was revoked.
    pub revoked: Vec<Credentials>,
    /// One caller on the smallest tier.
    pub limited: Credentials,
    // Each is stopped when it is dropped, in this order.
    _control_plane: ControlPlaneProcess,
    _upstream: Running,
    _folder: tempfile::TempDir,
}

impl Stack {
    /// Seeds, starts and waits until all is ready and the revocations are in force.
    ///
    /// # Errors
    /// When a program is missing, or isn't ready in time.
    pub async fn start(size: Size) -> anyhow::Result<Self> {
        Self::start_with(size, |setup| setup).await
    }

    /// [`Self::start`] with other settings of the gateway.
    ///
    /// # Errors
    /// When a program is missing, or isn't ready in time.
    pub async fn start_with(
        size: Size,
        change: impl FnOnce(GatewaySetup) -> GatewaySetup,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let setup = ControlPlaneSetup::new(folder.path().join("control-plane"))?.configured(CONFIGURATION);
        let seed = |accounts, customers_per_account, tier: &str| {
            setup.seed(&SeedPlan {
                accounts,
                customers_per_account,
                tier: tier.to_owned(),
            })
        };
        let valid = seed(size.accounts, size.customers_per_account, "loadtest")?;
        let revoked = seed(REVOKED, 1, "loadtest")?;
        let limited = seed(1, 1, "starter")?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let upstream = Upstream::start_on_threads(any, NonZeroUsize::MIN)?;
        let control_plane = ControlPlaneProcess::start(&setup).await?;
        let gateway = GatewaySetup::new(folder.path().join("gateway"), &control_plane, upstream.address());
        let gateway = GatewayProcess::start(&change(gateway)).await?;
        if !revoked.is_empty() {
            revoke(&control_plane, &revoked).await?;
        }
        Ok(Self {
            gateway,
            valid: callers(&valid).collect(),
            revoked: callers(&revoked).collect(),
            limited: callers(&limited).next().context("no account was seeded")?,
            _control_plane: control_plane,
            _upstream: upstream,
            _folder: folder,
        })
    }
}

fn callers(accounts: &[SeededAccount]) -> impl Iterator<Item = Credentials> {
    accounts.iter().flat_map(|account| {
        account.customer_keys.iter().map(|customer_key| Credentials {
            account_key: Some(account.account_key.clone()),
            customer_key: Some(customer_key.clone()),
        })
    })
}

/// Revokes the account key of each, through the admin API as an operator would.
async fn revoke(control_plane: &ControlPlaneProcess, accounts: &[SeededAccount]) -> anyhow::Result<()> {
    let admin_key = control_plane.admin_key("loadtest")?;
    let client = http_client()?;
    for account in accounts {
        let keys = format!(
            "{}/admin/customers/{}/api-keys",
            control_plane.api_url(),
            account.account_id
        );
        let listed = client.get(&keys).header("x-api-key", &admin_key).send().await?;
        let listed: Value = listed.error_for_status()?.json().await?;
        let key = listed.pointer("/api_keys/0/api_key_id").and_then(Value::as_str);
        let key = key.context("an account without a key")?;
        let deleted = client
            .delete(format!("{keys}/{key}"))
            .header("x-api-key", &admin_key)
            .send()
            .await?
            .error_for_status()?;
        let propagation = deleted.headers().get("keyward-propagation");
        let propagation = propagation
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        anyhow::ensure!(
            propagation.starts_with("complete"),
            "a revocation was answered with propagation {propagation:?}"
        );
    }
    Ok(())
}
