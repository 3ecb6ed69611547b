//! `keyward-control-plane` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::process::Process;
use crate::program::{Program, binary};
use crate::{READY_WITHIN, free_address};

/// How to start a control plane, and where: its ports are chosen when this is made.
#[derive(Clone, Debug)]
pub struct ControlPlaneSetup {
    /// Where its secrets, its configuration, its logs and, unless it has another, its database lie.
    pub folder: PathBuf,
    /// More of the configuration, as TOML tables.
    pub configuration: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The address of its database; by default a file in `folder`.
    database: String,
    api: SocketAddr,
    sync: SocketAddr,
    admin: SocketAddr,
}

impl ControlPlaneSetup {
    /// A control plane that keeps everything in `folder`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(folder: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let folder = folder.into();
        Ok(Self {
            database: format!("sqlite://{}", folder.join("control-plane.db").display()),
            folder,
            configuration: String::new(),
            environment: Vec::new(),
            api: free_address()?,
            sync: free_address()?,
            admin: free_address()?,
        })
    }

    /// The same with more configuration, as TOML tables.
    #[must_use]
    pub fn configured(mut self, tables: &str) -> Self {
        self.configuration.push_str(tables);
        self.configuration.push('\n');
        self
    }

    /// The same on the database at this address, such as [`crate::postgres::shared_database`] makes.
    #[must_use]
    pub fn on_database(mut self, url: &str) -> Self {
        url.clone_into(&mut self.database);
        self
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes accounts and end customers straight in its database, in seconds for 100 000 keys. To be called
    /// before it is started.
    ///
    /// # Errors
    /// When `keyward-seed` is missing or fails; the message holds what it wrote.
    pub fn seed(&self, plan: &SeedPlan) -> anyhow::Result<Vec<SeededAccount>> {
        self.write_configuration()?;
        let printed = Program::new(binary("keyward-seed")?, &self.folder)
            .arg("--config")
            .arg(self.configuration_file())
            .arg("--accounts")
            .arg(plan.accounts.to_string())
            .arg("--customers-per-account")
            .arg(plan.customers_per_account.to_string())
            .args(["--tier", &plan.tier])
            .run()?;
        let accounts = printed.lines().map(serde_json::from_str);
        accounts
            .collect::<Result<_, _>>()
            .context("not the JSON lines that were agreed")
    }

    fn configuration_file(&self) -> PathBuf {
        self.folder.join("control-plane.toml")
    }

    fn write_configuration(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let at = |file: &str| crate::gateway::quoted(&self.folder.join(file));
        let text = format!(
            "[listen]\napi = \"{api}\"\nsync = \"{sync}\"\nadmin = \"{admin}\"\n\
             [database]\nurl = \"{database}\"\n\
             [secrets]\nmaster_key_file = {master}\ndigest_key_file = {digest}\ngateway_token_file = {token}\n\
             {configuration}",
            api = self.api,
            sync = self.sync,
            admin = self.admin,
            database = self.database,
            master = at("master.key"),
            digest = at("digest.key"),
            token = at("gateway.token"),
            configuration = self.configuration,
        );
        Ok(std::fs::write(self.configuration_file(), text)?)
    }

    fn program(&self) -> anyhow::Result<Program> {
        let program = Program::new(binary("keyward-control-plane")?, &self.folder);
        Ok(self
            .environment
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value)))
    }
}

/// What [`ControlPlaneSetup::seed`] makes.
#[derive(Clone, Debug)]
pub struct SeedPlan {
    /// How many accounts, each with a production key.
    pub accounts: usize,
    /// How many end customers each of them gets, in production.
    pub customers_per_account: usize,
    /// The key of their tier.
    pub tier: String,
}

/// An account that was seeded: one JSON line of `keyward-seed`.
#[derive(Clone, Deserialize)]
pub struct SeededAccount {
    /// Its id.
    pub account_id: String,
    /// Its production key.
    pub account_key: String,
    /// The keys of its end customers.
    pub customer_keys: Vec<String>,
}

/// A running control plane on ports of its own.
#[derive(Debug)]
pub struct ControlPlaneProcess {
    process: Process,
    program: Program,
    setup: ControlPlaneSetup,
}

impl ControlPlaneProcess {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it isn't in time; the message holds what it wrote.
    pub async fn start(setup: &ControlPlaneSetup) -> anyhow::Result<Self> {
        setup.write_configuration()?;
        let program = setup.program()?.arg("--config").arg(setup.configuration_file());
        let control_plane = Self {
            process: program.spawn()?,
            program,
            setup: setup.clone(),
        };
        control_plane.ready().await?;
        Ok(control_plane)
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When it doesn't in time.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.admin_url());
        self.process.ready(&url, READY_WITHIN).await
    }

    /// Kills it with no chance to clean up; [`Self::restart`] starts it again.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it again, on the same ports and data, killing it first when it still runs.
    ///
    /// # Errors
    /// When it isn't ready in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        self.process = self.program.spawn()?;
        self.ready().await
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it doesn't end within that time.
    pub async fn stop(&self, within: Duration) -> anyhow::Result<()> {
        let status = self.process.terminate(within).await?;
        anyhow::ensure!(status.success(), "the control plane ended with {status}");
        Ok(())
    }

    /// Makes an operator's key with `admin-key create`.
    ///
    /// # Errors
    /// When the command fails.
    pub fn admin_key(&self, name: &str) -> anyhow::Result<String> {
        let printed = self
            .setup
            .program()?
            .args(["admin-key", "create", "--config"])
            .arg(self.setup.configuration_file())
            .args(["--name", name, "--role", "owner"])
            .run()?;
        let key = printed.split_whitespace().find(|word| word.starts_with("ak_"));
        key.map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("no admin key was printed"))
    }

    /// Makes a token that lets this gateway in with `gateway-token create`.
    ///
    /// # Errors
    /// When the command fails.
    pub fn gateway_token(&self, gateway: &str) -> anyhow::Result<String> {
        let printed = self
            .setup
            .program()?
            .args(["gateway-token", "create", "--config"])
            .arg(self.setup.configuration_file())
            .args(["--gateway", gateway])
            .run()?;
        let token = printed.split_whitespace().find(|word| word.starts_with("gw_"));
        token
            .map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("no token was printed"))
    }

    /// The REST surfaces, as `http://host:port`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.setup.api)
    }

    /// The gateways' stream, as `http://host:port`.
    #[must_use]
    pub fn sync_url(&self) -> String {
        format!("http://{}", self.setup.sync)
    }

    /// Health and metrics, as `http://host:port`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.setup.admin)
    }

    /// The file with the token that its gateways show.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.setup.folder.join("gateway.token")
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.setup.folder
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
