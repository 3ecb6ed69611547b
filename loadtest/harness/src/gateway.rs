//! `keyward-gateway` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control_plane::ControlPlaneProcess;
use crate::process::{Process, Signal, send};
use crate::program::{Program, binary};
use crate::{READY_WITHIN, free_address};

/// One route for every path, which needs an account key and, in production, a customer key.
const EVERY_PATH: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\n";

/// How to start a gateway.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    /// Where its replica, its ledger, its configuration and its logs lie.
    pub folder: PathBuf,
    /// Its name.
    pub id: String,
    /// The control plane's sync address, as `http://host:port`.
    pub control_plane: String,
    /// Those of others on the same database, tried after it.
    pub other_control_planes: Vec<String>,
    /// The file with the token for it.
    pub token_file: PathBuf,
    /// The upstream that is called `api`.
    pub upstream: SocketAddr,
    /// Settings before the first table, as TOML; such as `workers = 1`.
    pub settings: String,
    /// The routes, as TOML tables.
    pub routes: String,
    /// More of the configuration, as TOML tables.
    pub configuration: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Where it is asked about calls that others forward, if anywhere.
    pub authz: Option<SocketAddr>,
    /// The one processor core it may run on.
    pub core: Option<usize>,
    /// The program; the workspace's own by default.
    pub binary: Option<PathBuf>,
}

impl GatewaySetup {
    /// A gateway of this control plane that keeps everything in `folder`.
    #[must_use]
    pub fn new(
        folder: impl Into<PathBuf>,
        control_plane: &ControlPlaneProcess,
        upstream: SocketAddr,
    ) -> Self {
        Self::apart(
            folder,
            control_plane.sync_url(),
            control_plane.token_file(),
            upstream,
        )
    }

    /// A gateway of a control plane that was not started here, or not at all.
    #[must_use]
    pub fn apart(
        folder: impl Into<PathBuf>,
        control_plane: String,
        token_file: PathBuf,
        upstream: SocketAddr,
    ) -> Self {
        Self {
            folder: folder.into(),
            id: "test".to_owned(),
            control_plane,
            other_control_planes: Vec::new(),
            token_file,
            upstream,
            settings: String::new(),
            routes: EVERY_PATH.to_owned(),
            configuration: String::new(),
            environment: Vec::new(),
            authz: None,
            core: None,
            binary: None,
        }
    }

    /// The same with these routes, as TOML tables, in place of the one for every path.
    #[must_use]
    pub fn routes(mut self, tables: &str) -> Self {
        tables.clone_into(&mut self.routes);
        self
    }

    /// The same with settings before the first table, as TOML.
    #[must_use]
    pub fn settings(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.settings);
        self
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

    fn text(&self, proxy: SocketAddr, admin: SocketAddr) -> String {
        let others = self.other_control_planes.iter();
        let urls: Vec<_> = std::iter::once(&self.control_plane)
            .chain(others)
            .map(|url| format!("\"{url}\""))
            .collect();
        format!(
            "{settings}\n[listen]\nproxy = \"{proxy}\"\nadmin = \"{admin}\"\n{authz}\n\
             [gateway]\nid = \"{id}\"\n\
             [control_plane]\nurls = [{urls}]\ntoken_file = {token}\n\
             [replica]\npath = {replica}\n[ledger]\npath = {ledger}\n\
             {configuration}\n\
             [[upstreams]]\nname = \"api\"\nendpoints = [\"http://{upstream}\"]\n{routes}",
            settings = self.settings,
            authz = self
                .authz
                .map_or_else(String::new, |authz| format!("authz = \"{authz}\"")),
            id = self.id,
            urls = urls.join(", "),
            token = quoted(&self.token_file),
            replica = quoted(&self.folder.join("replica")),
            ledger = quoted(&self.folder.join("ledger")),
            configuration = self.configuration,
            upstream = self.upstream,
            routes = self.routes,
        )
    }

    fn program(&self, configuration: &Path) -> anyhow::Result<Program> {
        let path = match &self.binary {
            Some(path) => path.clone(),
            None => binary("keyward-gateway")?,
        };
        let program = Program::new(path, &self.folder)
            .arg("--config")
            .arg(configuration);
        let program = self
            .environment
            .iter()
            .fold(program, |program, (name, value)| program.env(name, value));
        Ok(match self.core {
            Some(core) => program.on_core(core),
            None => program,
        })
    }
}

/// A running gateway on ports of its own.
#[derive(Debug)]
pub struct GatewayProcess {
    process: Process,
    /// Those that took over, one after the other.
    heirs: Vec<u32>,
    program: Program,
    configuration: PathBuf,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl GatewayProcess {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it isn't in time; the message holds what it wrote.
    pub async fn start(setup: &GatewaySetup) -> anyhow::Result<Self> {
        let gateway = Self::launch(setup)?;
        gateway.ready().await?;
        Ok(gateway)
    }

    /// Starts one and waits for nothing.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn launch(setup: &GatewaySetup) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&setup.folder)?;
        let (proxy, admin) = (free_address()?, free_address()?);
        let configuration = setup.folder.join("gateway.toml");
        std::fs::write(&configuration, setup.text(proxy, admin))?;
        let program = setup.program(&configuration)?;
        Ok(Self {
            process: program.spawn()?,
            heirs: Vec::new(),
            configuration,
            program,
            proxy,
            admin,
        })
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
        for heir in self.heirs.iter().filter(|heir| lives(**heir)) {
            let _ = send(Signal::Kill, *heir);
            // It is no child of ours that could be waited for.
            while lives(*heir) {
                std::thread::yield_now();
            }
        }
    }

    /// The process that serves.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.heirs.last().copied().unwrap_or(self.process.pid())
    }

    /// Has its program take over from it; [`Self::upgraded`] waits until it has.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin_upgrade(&self) -> anyhow::Result<()> {
        send(Signal::Upgrade, self.pid())
    }

    /// Waits until another process serves.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn upgraded(&mut self) -> anyhow::Result<()> {
        let before = self.pid();
        let heir = crate::eventually(READY_WITHIN, || async {
            let pid = self.state().await?["pid"].as_u64().unwrap_or_default();
            let pid = u32::try_from(pid)?;
            anyhow::ensure!(pid != 0 && pid != before, "{before} serves");
            Ok(pid)
        });
        self.heirs.push(heir.await?);
        Ok(())
    }

    /// Waits until all those before the one that serves have ended.
    ///
    /// # Errors
    /// When one lives on.
    pub async fn is_alone(&self, within: Duration) -> anyhow::Result<()> {
        let serving = self.pid();
        crate::eventually(within, || async {
            let before = self.heirs.iter().copied().chain([self.process.pid()]);
            let left = before.filter(|pid| *pid != serving && lives(*pid)).count();
            anyhow::ensure!(left == 0, "{left} of those before live");
            Ok(())
        })
        .await
    }

    /// What `/debug/state` says.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn state(&self) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}/debug/state", self.admin_url());
        Ok(crate::http_client()?.get(url).send().await?.json().await?)
    }

    /// Reads its configuration again, after `change` has changed the text, and waits until that is in force.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn reload(&self, change: impl FnOnce(String) -> String) -> anyhow::Result<()> {
        let reloads = async || {
            let state = self.state().await?;
            let count = state
                .pointer("/configuration/reloads")
                .and_then(serde_json::Value::as_u64);
            anyhow::Ok(count.unwrap_or_default())
        };
        let before = reloads().await?;
        self.rewrite(change)?;
        send(Signal::HangUp, self.pid())?;
        crate::eventually(READY_WITHIN, || async {
            anyhow::ensure!(reloads().await? > before, "not reloaded");
            Ok(())
        })
        .await
    }

    /// Changes its configuration file, whole at every moment: the gateway may look at any. What it makes of it is not waited for.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.configuration)?;
        let draft = self.configuration.with_extension("draft");
        std::fs::write(&draft, change(text))?;
        Ok(std::fs::rename(&draft, &self.configuration)?)
    }

    /// Starts it again, on the same ports and data, killing it first when it still runs.
    ///
    /// # Errors
    /// When it isn't ready in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.heirs.clear();
        self.process = self.program.spawn()?;
        self.ready().await
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it doesn't end within that time, or with another exit code than 0.
    pub async fn stop(&self, within: Duration) -> anyhow::Result<()> {
        if let Some(heir) = self.heirs.last() {
            send(Signal::Terminate, *heir)?;
            let ended = async || {
                anyhow::ensure!(!lives(*heir), "it still runs");
                Ok(())
            };
            return crate::eventually(within, ended).await;
        }
        let status = self.process.terminate(within).await?;
        anyhow::ensure!(status.success(), "the gateway ended with {status}");
        Ok(())
    }

    /// Its metrics, as Prometheus text.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let url = format!("{}/metrics", self.admin_url());
        Ok(crate::http_client()?.get(url).send().await?.text().await?)
    }

    /// Where partners call, as `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// Where partners call.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.proxy
    }

    /// Health and metrics, as `http://host:port`.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that nobody has asked about since it ended is no more than a name.
/// Whether anything of this process runs. One whose first thread has ended may hold files, and their locks, for a moment longer.
fn lives(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    })
}

/// A path as a TOML string.
pub(crate) fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
