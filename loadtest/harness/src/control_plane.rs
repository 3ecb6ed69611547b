//! `keyward-control-plane` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::Process;
use crate::program::{Program, binary};
use crate::{READY_WITHIN, free_address};

/// How to start a control plane.
#[derive(Clone, Debug)]
pub struct ControlPlaneSetup {
    /// Where its database, its secrets, its configuration and its logs lie.
    pub folder: PathBuf,
    /// More of the configuration, as TOML tables.
    pub configuration: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
}

impl ControlPlaneSetup {
    /// A control plane that keeps everything in `folder`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            configuration: String::new(),
            environment: Vec::new(),
        }
    }

    /// The same with more configuration, as TOML tables.
    #[must_use]
    pub fn configured(mut self, tables: &str) -> Self {
        self.configuration.push_str(tables);
        self.configuration.push('\n');
        self
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running control plane on ports of its own.
#[derive(Debug)]
pub struct ControlPlaneProcess {
    process: Process,
    program: Program,
    folder: PathBuf,
    configuration: PathBuf,
    api: SocketAddr,
    sync: SocketAddr,
    admin: SocketAddr,
}

impl ControlPlaneProcess {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it isn't in time; the message holds what it wrote.
    pub async fn start(setup: &ControlPlaneSetup) -> anyhow::Result<Self> {
        let folder = setup.folder.clone();
        std::fs::create_dir_all(&folder)?;
        let (api, sync, admin) = (free_address()?, free_address()?, free_address()?);
        let at = |file: &str| crate::gateway::quoted(&folder.join(file));
        let text = format!(
            "[listen]\napi = \"{api}\"\nsync = \"{sync}\"\nadmin = \"{admin}\"\n\
             [database]\nurl = \"sqlite://{}\"\n\
             [secrets]\nmaster_key_file = {}\ndigest_key_file = {}\ngateway_token_file = {}\n{}",
            folder.join("control-plane.db").display(),
            at("master.key"),
            at("digest.key"),
            at("gateway.token"),
            setup.configuration,
        );
        let configuration = folder.join("control-plane.toml");
        std::fs::write(&configuration, text)?;
        let program = Program::new(binary("keyward-control-plane")?, &folder)
            .arg("--config")
            .arg(&configuration);
        let program = setup
            .environment
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value));
        let control_plane = Self {
            process: program.spawn()?,
            program,
            folder,
            configuration,
            api,
            sync,
            admin,
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
        let printed = Program::new(binary("keyward-control-plane")?, &self.folder)
            .args(["admin-key", "create", "--config"])
            .arg(&self.configuration)
            .args(["--name", name, "--role", "owner"])
            .run()?;
        let key = printed.split_whitespace().find(|word| word.starts_with("ak_"));
        key.map(str::to_owned)
            .ok_or_else(|| anyhow::anyhow!("no admin key was printed"))
    }

    /// The REST surfaces, as `http://host:port`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The gateways' stream, as `http://host:port`.
    #[must_use]
    pub fn sync_url(&self) -> String {
        format!("http://{}", self.sync)
    }

    /// Health and metrics, as `http://host:port`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The file with the token that its gateways show.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("gateway.token")
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}
