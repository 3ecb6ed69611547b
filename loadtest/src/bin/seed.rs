//! Fills a control plane's database with accounts and end customers, and prints every key in clear: one JSON
//! line for each account. For load tests only, and for a control plane that isn't running.

use std::io::Write;
use std::path::PathBuf;

use clap::Parser;
use keyward_config::ControlPlaneConfig;
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::seed::{self, Plan};
use serde_json::json;

/// Fills a control plane's database for a load test.
#[derive(Parser)]
#[command(name = "keyward-seed", version)]
struct Arguments {
    /// The control plane's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How many accounts, each with a production key.
    #[arg(long)]
    accounts: usize,
    /// How many end customers each of them gets, in production.
    #[arg(long)]
    customers_per_account: usize,
    /// The key of their tier.
    #[arg(long)]
    tier: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = ControlPlaneConfig::load(&arguments.config)?;
    let (registry, _) = ControlPlane::open(&config).await?;
    let plan = Plan {
        accounts: arguments.accounts,
        customers_per_account: arguments.customers_per_account,
        tier: arguments.tier,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for account in seed::run(&registry, &plan).await? {
        let customer_keys: Vec<_> = account.customer_keys.iter().map(|key| key.expose()).collect();
        let line = json!({
            "account_id": account.account_id,
            "account_key": account.account_key.expose(),
            "customer_keys": customer_keys,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
