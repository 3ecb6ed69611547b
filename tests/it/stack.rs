//! A control plane and its gateways, each a process of its own, with a sample upstream in this one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use keyward_harness::{
    ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, eventually, free_address, metric,
};
use keyward_upstream::Upstream;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::api::{Account, Answer, Api, By};
use crate::relay::Relay;

/// For what takes milliseconds, on a machine that is busy compiling something else.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// An acknowledgement may take long on a busy machine; what is promised of `complete` is none the weaker for it.
const WAIT: Duration = Duration::from_secs(15);

/// Tests make many changes at once.
const CONTROL_PLANE: &str = "[management_limits]\n\
    portal = { rate = \"100000/s\", burst = 100000 }\nothers = { rate = \"100000/s\", burst = 100000 }\n";

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// How many gateways.
    pub(crate) gateways: usize,
    /// The gateways' routes, as TOML tables; by default one for every path, which needs both keys.
    pub(crate) routes: &'a str,
    /// More of the gateways' configuration, as TOML tables.
    pub(crate) gateway_tables: &'a str,
    /// More of the control plane's configuration, as TOML tables.
    pub(crate) control_plane_tables: &'a str,
    /// What the gateways forward to; a sample upstream by default.
    pub(crate) upstream: Option<SocketAddr>,
    /// How long a change waits for acknowledgements.
    pub(crate) wait: Duration,
    /// Where the first gateway finds the control plane, when that is not where it listens.
    pub(crate) relay: Option<&'a Relay>,
    /// What the programs log; `info` by default.
    pub(crate) log: &'a str,
    /// Whether the gateways can be asked about calls that others forward.
    pub(crate) authz: bool,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            gateways: 1,
            routes: "",
            gateway_tables: "",
            control_plane_tables: "",
            upstream: None,
            wait: WAIT,
            relay: None,
            log: "info",
            authz: false,
        }
    }
}

/// A running system. The processes end before their folder is removed.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) gateways: Vec<GatewayProcess>,
    /// Where each gateway is asked about calls that others forward, when the plan says so.
    pub(crate) asked_at: Vec<SocketAddr>,
    pub(crate) control_plane: ControlPlaneProcess,
    pub(crate) api: Api,
    /// An operator's key.
    pub(crate) admin: String,
    _upstream: keyward_upstream::Running,
    folder: TempDir,
}

impl Stack {
    /// With one gateway.
    pub(crate) async fn start() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let setup = ControlPlaneSetup::new(folder.path().join("control-plane")).unwrap();
        let setup = setup.configured(CONTROL_PLANE).env("KEYWARD_LOG", plan.log);
        let wait = format!("[propagation]\nwait = \"{}ms\"\n", plan.wait.as_millis());
        let setup = setup.configured(&wait).configured(plan.control_plane_tables);
        let control_plane = ControlPlaneProcess::start(&setup).await.unwrap();
        // Made by another process, so that the control plane hears of it late: before any gateway follows.
        let admin = control_plane.admin_key("tests").unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let upstream = Upstream::start(any).await.unwrap();
        let forward_to = plan.upstream.unwrap_or(upstream.address());
        let (mut gateways, mut asked_at) = (Vec::new(), Vec::new());
        for number in 1..=plan.gateways {
            let name = format!("edge-{number}");
            let mut setup = GatewaySetup::new(folder.path().join(&name), &control_plane, forward_to)
                .settings("workers = 2")
                .configured(plan.gateway_tables)
                .env("KEYWARD_LOG", plan.log);
            setup.id = name;
            setup.authz = plan.authz.then(|| free_address().unwrap());
            asked_at.extend(setup.authz);
            if !plan.routes.is_empty() {
                setup = setup.routes(plan.routes);
            }
            if let Some(relay) = plan.relay.filter(|_| number == 1) {
                setup.control_plane = relay.to(&control_plane.sync_url());
            }
            gateways.push(GatewayProcess::start(&setup).await.unwrap());
        }
        let stack = Self {
            gateways,
            asked_at,
            api: Api::new(control_plane.api_url()),
            admin,
            control_plane,
            _upstream: upstream,
            folder,
        };
        stack.all_gateways_connected().await;
        stack
    }

    /// Where everything lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where partners call the only or the first gateway.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.gateways[0].address()
    }

    /// Waits until the control plane counts every gateway as connected and up to date.
    pub(crate) async fn all_gateways_connected(&self) {
        let connected = eventually(SOON, || async {
            let told = self.admin(Method::GET, "/admin/gateways", Value::Null).await;
            let told = told.expect(200).json();
            let gateways = told["gateways"].as_array().unwrap().iter();
            let connected = gateways
                .filter(|gateway| gateway["state"] == "connected" && gateway["revision"] == told["revision"])
                .count();
            anyhow::ensure!(connected == self.gateways.len(), "{told}");
            Ok(())
        });
        connected.await.unwrap();
    }

    /// An operator's call.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        self.api.call(By::Admin(&self.admin), method, path, body).await
    }

    /// A partner's call.
    pub(crate) async fn portal(&self, key: &str, method: Method, path: &str, body: Value) -> Answer {
        self.api.call(By::Account(key), method, path, body).await
    }

    /// An account whose limits no test reaches by accident.
    pub(crate) async fn account(&self) -> Account {
        self.account_with(1_000_000, 1_000_000).await
    }

    pub(crate) async fn account_with(&self, rate: u32, burst: u32) -> Account {
        self.api.account(&self.admin, rate, burst).await
    }

    /// A metric of the control plane; 0 before it was counted for the first time.
    pub(crate) async fn control_plane_metric(&self, name: &str) -> f64 {
        metric(&self.control_plane_metrics().await, name, &[]).unwrap_or_default()
    }

    /// All metrics of the control plane.
    pub(crate) async fn control_plane_metrics(&self) -> String {
        page(&format!("{}/metrics", self.control_plane.admin_url())).await
    }
}

/// What is at an address.
pub(crate) async fn page(url: &str) -> String {
    let client = keyward_harness::http_client().unwrap();
    client.get(url).send().await.unwrap().text().await.unwrap()
}
