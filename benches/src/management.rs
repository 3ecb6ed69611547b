//! The control plane on each of its databases: what is started, filled, called and measured.
//!
//! The control plane has a core for itself; the database server and the load share the other. What each costs is
//! read from `/proc`, so that sharing a core spoils times, not costs.

pub mod fill;
pub mod pages;
pub mod spread;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use keyward_control_plane::store::{Engine, Store};
use keyward_harness::{ControlPlaneProcess, ControlPlaneSetup, ProcessUsage, http_client};
use keyward_loadtest::{Load, Order, Requests, generator};
use serde_json::{Value, json};

/// Nobody measured is slowed down, and no gateway is waited for.
const CONFIGURATION: &str = "[management_limits]\nportal = { rate = \"1000000/s\", burst = 1000000 }\n\
                             others = { rate = \"1000000/s\", burst = 1000000 }\n";
/// Whose end customers are shown, drawn at random.
const SHOWN: usize = 500;

/// A control plane on one database, with an account that has end customers.
#[derive(Debug)]
pub struct Side {
    /// What the report calls it.
    pub name: &'static str,
    /// The program.
    pub control_plane: ControlPlaneProcess,
    /// Its database, opened beside it.
    pub store: Store,
    /// An operator's key.
    pub admin_key: String,
    /// The account's id.
    pub account: String,
    /// The account's key.
    pub account_key: String,
    shown: Vec<String>,
    database: Option<u32>,
}

impl Side {
    /// Starts one in `folder`, on the database at `url` (by default a file in the folder), and puts it on `core`.
    ///
    /// # Errors
    /// When it doesn't start.
    pub async fn start(folder: &Path, url: Option<String>, core: usize) -> anyhow::Result<Self> {
        let file = format!("sqlite://{}", folder.join("control-plane.db").display());
        let url = url.unwrap_or(file);
        let setup = ControlPlaneSetup::new(folder)?
            .configured(CONFIGURATION)
            .on_database(&url)
            .env("KEYWARD_LOG", "warn");
        let control_plane = ControlPlaneProcess::start(&setup).await?;
        pin(control_plane.process().pid(), core)?;
        let store = Store::open(&url).await?;
        let admin_key = control_plane.admin_key("benchmark")?;
        let mut side = Self {
            name: match store.engine() {
                Engine::Sqlite => "SQLite",
                Engine::Postgres => "PostgreSQL",
            },
            control_plane,
            database: server_of(&store).await?,
            store,
            admin_key,
            account: String::new(),
            account_key: String::new(),
            shown: Vec::new(),
        };
        side.make_account().await?;
        Ok(side)
    }

    /// Where the REST surfaces are.
    ///
    /// # Errors
    /// Never: it was chosen as an address.
    pub fn api(&self) -> anyhow::Result<SocketAddr> {
        let url = self.control_plane.api_url();
        Ok(url.trim_start_matches("http://").parse()?)
    }

    async fn make_account(&mut self) -> anyhow::Result<()> {
        let fields =
            json!({"company_name": "Acme", "contact_email": "it@acme.example", "tier": "enterprise"});
        let made = self
            .post("/admin/customers", ("x-api-key", self.admin_key.clone()), &fields)
            .await?;
        self.account = text(&made["customer"]["customer_id"])?;
        self.account_key = text(&made["api_key"])?;
        for number in 0..SHOWN {
            let bearer = format!("Bearer {}", self.account_key);
            let fields = json!({"name": format!("Shown {number}")});
            let made = self
                .post("/customers", ("authorization", bearer), &fields)
                .await?;
            self.shown.push(text(&made["id"])?);
        }
        Ok(())
    }

    async fn post(&self, path: &str, (name, value): (&str, String), body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.control_plane.api_url());
        let call = http_client()?
            .post(url)
            .header(name, value)
            .header("content-type", "application/json");
        let answer = call.body(body.to_string()).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path} was answered with {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// `GET /customers/{id}`.
    Show,
    /// `POST /admin/customers/{id}/api-keys`: a transaction that is on the disk when it is answered.
    CreateKey,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 2] = [Self::Show, Self::CreateKey];

    /// What the report calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Show => "GET /customers/{id}",
            Self::CreateKey => "creating a key",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Show => 200,
            Self::CreateKey => 201,
        }
    }

    fn requests(self, side: &Side) -> Requests {
        let texts: Vec<String> = match self {
            Self::Show => {
                let key = &side.account_key;
                let one = |id| {
                    format!(
                        "GET /customers/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n"
                    )
                };
                side.shown.iter().map(one).collect()
            }
            Self::CreateKey => vec![format!(
                "POST /admin/customers/{}/api-keys HTTP/1.1\r\nHost: localhost\r\nx-api-key: {}\r\n\
                 content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
                side.account, side.admin_key
            )],
        };
        Requests::of(texts, Order::Random)
    }
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Calls a second.
    pub per_second: f64,
    /// Half of the calls took no longer.
    pub median: Duration,
    /// 99 of 100 calls took no longer.
    pub p99: Duration,
    /// Processor microseconds of the control plane for each call.
    pub control_plane_us: f64,
    /// Processor microseconds of the database server for each call; none where the control plane does its work.
    pub database_us: f64,
}

/// Has a side do some work.
///
/// # Errors
/// When a call isn't answered as it should be.
#[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
pub async fn measure(side: &Side, work: Work, load: &Load) -> anyhow::Result<Measured> {
    let load = Load {
        target: side.api()?,
        requests: Arc::new(work.requests(side)),
        ..load.clone()
    };
    let pid = side.control_plane.process().pid();
    let used = || ProcessUsage::of(pid).map(|usage| usage.processor_time());
    let (own, database) = (used()?, side.database_time()?);
    let outcome = generator::run(&load).await?;
    outcome.all(work.status())?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / outcome.answers().max(1) as f64;
    Ok(Measured {
        per_second: outcome.per_second(),
        median: outcome.latencies.quantile(0.5),
        p99: outcome.latencies.quantile(0.99),
        control_plane_us: each(used()?.saturating_sub(own)),
        database_us: each(side.database_time()?.saturating_sub(database)),
    })
}

impl Side {
    /// The processor time of the database server and of all that it started; those that ended are left out.
    fn database_time(&self) -> anyhow::Result<Duration> {
        let Some(server) = self.database else {
            return Ok(Duration::ZERO);
        };
        let mut sum = ProcessUsage::of(server)?.processor_time();
        for pid in processes()? {
            if parent_of(pid) == Some(server) {
                sum += ProcessUsage::of(pid).map_or(Duration::ZERO, |usage| usage.processor_time());
            }
        }
        Ok(sum)
    }
}

/// The process of the database server, when there is one: the parent of the one that answers us.
async fn server_of(store: &Store) -> anyhow::Result<Option<u32>> {
    if store.engine() == Engine::Sqlite {
        return Ok(None);
    }
    let (backend,): (i64,) = sqlx::query_as("SELECT CAST(pg_backend_pid() AS BIGINT)")
        .fetch_one(store.readers())
        .await?;
    let server = parent_of(u32::try_from(backend)?);
    Ok(Some(
        server.context("the database server is no process of this machine")?,
    ))
}

fn processes() -> anyhow::Result<Vec<u32>> {
    let names = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

/// Puts all threads of a process on one core, and those that they start.
pub(crate) fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    let (core, pid) = (core.to_string(), pid.to_string());
    let pinned = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &core, &pid])
        .output()
        .context("taskset is missing")?;
    ensure!(pinned.status.success(), "core {core} can't be used");
    Ok(())
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value
        .as_str()
        .with_context(|| format!("no text but {value}"))?
        .to_owned())
}
