//! `keyward standalone` as a process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use crate::process::Process;
use crate::program::{Program, binary};
use crate::{READY_WITHIN, eventually, free_offset};

/// The one JSON line that `keyward standalone --json` prints once everything is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct StandaloneAddresses {
    /// Where partners call, as `http://host:port`, like all the following.
    pub gateway: String,
    /// The gateway's health and metrics.
    pub gateway_admin: String,
    /// The REST surfaces.
    pub control_plane: String,
    /// The gateways' stream.
    pub sync: String,
    /// The control plane's health and metrics.
    pub control_plane_admin: String,
    /// The sample upstream, unless the configuration names another.
    pub upstream: Option<String>,
    /// The demo credentials; only when they were just made.
    pub demo: Option<Demo>,
}

/// The demo credentials.
#[derive(Clone, Debug, Deserialize)]
pub struct Demo {
    /// An operator's key.
    pub admin_key: String,
    /// The demo account.
    pub account_id: String,
    /// Its production environment.
    pub production: DemoEnvironment,
    /// Its test environment.
    pub test: DemoEnvironment,
}

/// One environment of the demo account.
#[derive(Clone, Debug, Deserialize)]
pub struct DemoEnvironment {
    /// An account key.
    pub account_key: String,
    /// An end customer.
    pub customer_id: String,
    /// That end customer's key.
    pub customer_key: String,
}

/// A running `keyward standalone` on ports of its own.
#[derive(Debug)]
pub struct Standalone {
    process: Process,
    addresses: StandaloneAddresses,
    data: PathBuf,
    // Removed when dropped; `None` when the data folder is the caller's.
    _folder: Option<tempfile::TempDir>,
}

impl Standalone {
    /// Starts it on an empty data folder and waits until everything is ready.
    ///
    /// # Errors
    /// When it isn't ready in time; the message holds what it wrote.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut standalone = Self::start_in(&folder.path().join("data"), &[]).await?;
        standalone._folder = Some(folder);
        Ok(standalone)
    }

    /// Starts it with a data folder of the caller's and environment variables that override its
    /// configuration.
    ///
    /// # Errors
    /// When it isn't ready in time; the message holds what it wrote.
    pub async fn start_in(data: &Path, environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        // The log files lie beside the data folder, because an empty one means a first start.
        let logs = data.parent().context("the data folder has no parent")?;
        let program = Program::new(binary("keyward")?, logs)
            .args(["standalone", "--json", "--listen-offset"])
            .arg(free_offset()?.to_string())
            .arg("--data-dir")
            .arg(data);
        let program = environment
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value));
        // An earlier start may have left its line in the file.
        let already = std::fs::read_to_string(logs.join("keyward.stdout")).unwrap_or_default();
        let process = program.spawn()?;
        let addresses = announced(&process, already.len()).await?;
        Ok(Self {
            process,
            addresses,
            data: data.to_path_buf(),
            _folder: None,
        })
    }

    /// Its addresses and, after a first start, its demo credentials.
    #[must_use]
    pub fn addresses(&self) -> &StandaloneAddresses {
        &self.addresses
    }

    /// The demo credentials of a first start.
    ///
    /// # Errors
    /// When this was not a first start.
    pub fn demo(&self) -> anyhow::Result<&Demo> {
        self.addresses
            .demo
            .as_ref()
            .context("no first start, so no demo credentials")
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it doesn't end within that time, or with another exit code than 0.
    pub async fn stop(&self, within: Duration) -> anyhow::Result<()> {
        let status = self.process.terminate(within).await?;
        anyhow::ensure!(status.success(), "keyward standalone ended with {status}");
        Ok(())
    }
}

async fn announced(process: &Process, skip: usize) -> anyhow::Result<StandaloneAddresses> {
    let line = eventually(READY_WITHIN, || async {
        if let Some(status) = process.exited()? {
            return Ok(Err(anyhow::anyhow!("it ended with {status}")));
        }
        let text = process.stdout()?;
        let line = text.get(skip..).and_then(|new| new.split_once('\n'));
        let (line, _) = line.context("its line is not there yet")?;
        Ok(Ok(line.to_owned()))
    });
    let line = line.await.and_then(std::convert::identity).with_context(|| {
        format!(
            "standalone is not ready:\n{}",
            process.stderr().unwrap_or_default()
        )
    })?;
    serde_json::from_str(&line).with_context(|| format!("not the JSON line that was agreed: {line}"))
}
