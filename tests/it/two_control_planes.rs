//! Several control planes on one PostgreSQL: a change that is made on either is in force on the gateways of both when
//! it answers `complete`, and one that dies holds the other up for no longer than its gateways count as live.

use std::time::Duration;

use keyward_harness::postgres::{Durability, Postgres};
use keyward_harness::{ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, eventually};
use keyward_upstream::Upstream;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Account, Api, By, Customer};
use crate::stack::SOON;
use crate::wire::{Keys, Wire};

/// A gateway of a control plane that died counts for ten seconds after it was last heard of.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(40);
const SETTINGS: &str = "[propagation]\nwait = \"5s\"\n[management_limits]\n\
    portal = { rate = \"100000/s\", burst = 100000 }\nothers = { rate = \"100000/s\", burst = 100000 }\n";

/// Two control planes with a gateway each. What runs ends before what it runs on.
struct Pair {
    gateways: [GatewayProcess; 2],
    control_planes: [ControlPlaneProcess; 2],
    apis: [Api; 2],
    admin: String,
    _upstream: keyward_upstream::Running,
    _database: Postgres,
    _folder: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Postgres::start(Durability::None).unwrap();
        let url = database.database().unwrap();
        let control_plane = async |name: &str| {
            let setup = ControlPlaneSetup::new(folder.path().join(name)).unwrap();
            let setup = setup.configured(SETTINGS).on_database(&url);
            ControlPlaneProcess::start(&setup).await.unwrap()
        };
        let first = control_plane("one").await;
        // One database has one set of secrets.
        std::fs::create_dir_all(folder.path().join("two")).unwrap();
        for secret in ["master.key", "digest.key", "gateway.token"] {
            let from = folder.path().join("one").join(secret);
            std::fs::copy(from, folder.path().join("two").join(secret)).unwrap();
        }
        let second = control_plane("two").await;
        let admin = first.admin_key("tests").unwrap();
        let upstream = Upstream::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let gateway = async |name: &str, control_plane: &ControlPlaneProcess| {
            let place = folder.path().join(name);
            let setup = GatewaySetup::new(place, control_plane, upstream.address());
            let mut setup = setup.settings("workers = 2");
            name.clone_into(&mut setup.id);
            GatewayProcess::start(&setup).await.unwrap()
        };
        let gateways = [gateway("edge-1", &first).await, gateway("edge-2", &second).await];
        let pair = Self {
            gateways,
            apis: [Api::new(first.api_url()), Api::new(second.api_url())],
            control_planes: [first, second],
            admin,
            _upstream: upstream,
            _database: database,
            _folder: folder,
        };
        for api in &pair.apis {
            pair.both_are_seen(api).await;
        }
        pair
    }

    /// Waits until a control plane counts the gateways of both as connected and up to date.
    async fn both_are_seen(&self, api: &Api) {
        let seen = eventually(SOON, || async {
            let told = api.call(
                By::Admin(&self.admin),
                Method::GET,
                "/admin/gateways",
                Value::Null,
            );
            let told = told.await.expect(200).json();
            let gateways = told["gateways"].as_array().unwrap().iter();
            let connected = gateways
                .filter(|gateway| gateway["state"] == "connected" && gateway["revision"] == told["revision"])
                .count();
            anyhow::ensure!(connected == 2, "{told}");
            Ok(())
        });
        seen.await.unwrap();
    }
}

fn keys<'k>(account: &'k Account, customer: &'k Customer) -> Keys<'k> {
    Keys {
        account: &account.key,
        customer: &customer.key,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_either_answers_complete_holds_at_the_gateways_of_both() {
    let pair = Pair::start().await;
    let account = pair.apis[0].account(&pair.admin, 100_000, 200_000).await;
    let mut wires = [
        Wire::open(pair.gateways[0].address()).await,
        Wire::open(pair.gateways[1].address()).await,
    ];
    for round in 0..40 {
        let (made_at, ended_at) = (&pair.apis[round % 2], &pair.apis[(round / 2) % 2]);
        let customer = made_at.customer(&account.key, &format!("Uni {round}")).await;
        for wire in &mut wires {
            assert_eq!(
                wire.call(keys(&account, &customer)).await.status,
                200,
                "round {round}"
            );
        }
        let path = format!("/customers/{}", customer.id);
        let ended = ended_at.call(By::Account(&account.key), Method::DELETE, &path, Value::Null);
        ended.await.expect(204).in_force_at(2);
        for wire in &mut wires {
            assert_eq!(
                wire.call(keys(&account, &customer)).await.status,
                403,
                "round {round}"
            );
        }
    }

    // The first one dies: its gateway serves on what it knew, and after its ten seconds holds nobody up.
    let customer = pair.apis[1].customer(&account.key, "Last").await;
    pair.control_planes[0].kill();
    assert_eq!(wires[0].call(keys(&account, &customer)).await.status, 200);
    let path = format!("/admin/customers/{}", account.id);
    let cut_off = eventually(FORGOTTEN_WITHIN, || async {
        let edit = json!({"metadata": {"at": another_text()}});
        let edited = pair.apis[1].call(By::Admin(&pair.admin), Method::PUT, &path, edit);
        let edited = edited.await.expect(200);
        let told = edited.header("keyward-propagation").to_owned();
        anyhow::ensure!(told == "complete; gateways=1", "{told}");
        Ok(())
    });
    cut_off.await.unwrap();
    let path = format!("/customers/{}", customer.id);
    let ended = pair.apis[1].call(By::Account(&account.key), Method::DELETE, &path, Value::Null);
    ended.await.expect(204).in_force_at(1);
    assert_eq!(wires[1].call(keys(&account, &customer)).await.status, 403);
}

/// Another text every time, so that every edit is a change.
fn another_text() -> String {
    format!("{:?}", std::time::SystemTime::now())
}
