//! No validation lost, none counted twice: whatever is killed, whenever, the control plane counts for each key what
//! reached the upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use keyward_harness::eventually;
use keyward_loadtest::random::Random;
use reqwest::Method;
use serde_json::Value;

use crate::api::Account;
use crate::fleet::{self, Fleet, calls_of};
use crate::stack::{Plan, SOON};

const KILLS: usize = 20;
/// The control plane is killed, too, before every so many kills of a gateway, and comes back after the next.
const WITH_CONTROL_PLANE: usize = 4;
const GATEWAYS: usize = 2;
const ACCOUNTS: usize = 4;
/// Usage of several dead starts of each gateway has to arrive.
const CAUGHT_UP: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_that_reached_the_upstream_is_counted_once_however_often_anything_is_killed() {
    let _alone = fleet::alone().await;
    let plan = Plan {
        gateways: GATEWAYS,
        control_plane_tables: UNLIMITED,
        ..Plan::default()
    };
    let mut fleet = Fleet::with("mode = \"local\"", plan).await;
    // Two keys for each.
    let mut keys = fleet.accounts(ACCOUNTS, "unlimited").await;
    for account in 0..ACCOUNTS {
        keys.push(fleet.another_key(&keys[account]).await);
    }
    let load = fleet.steady(300, calls_of(&keys), Duration::from_secs(180));
    let load = load.start().await.unwrap();
    let mut random = Random::new(u64::from(std::process::id()));
    for kill in 0..KILLS {
        let away = kill % WITH_CONTROL_PLANE == WITH_CONTROL_PLANE - 1;
        fleet.more_calls(20 + random.below(150) as u64).await;
        if away {
            fleet.stack.control_plane.kill();
            fleet.more_calls(random.below(100) as u64).await;
        }
        let gateway = &mut fleet.stack.gateways[random.below(GATEWAYS)];
        gateway.kill();
        gateway.restart().await.unwrap();
        if away {
            fleet.more_calls(random.below(100) as u64).await;
            fleet.stack.control_plane.restart().await.unwrap();
        }
    }
    let heard = load.stop().await.unwrap();
    let seen = fleet.tally.by_key();
    assert!(fleet.tally.total() >= heard.accepted());
    fleet.stack.all_gateways_connected().await;
    fleet.counted(&keys, &seen).await;
    // Whatever a gateway still holds is sent when it stops, and what it holds then is sent when it starts.
    for gateway in &mut fleet.stack.gateways {
        gateway.stop(SOON).await.unwrap();
        gateway.restart().await.unwrap();
    }
    fleet.stack.all_gateways_connected().await;
    fleet.counted(&keys, &seen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_that_reached_the_upstream_is_counted_once_over_upgrades_and_kills_in_them() {
    let _alone = fleet::alone().await;
    let plan = Plan {
        gateways: 1,
        gateway_tables: "[drain]\ntimeout = \"2s\"\n",
        control_plane_tables: UNLIMITED,
        ..Plan::default()
    };
    let mut fleet = Fleet::with("mode = \"local\"", plan).await;
    let keys = fleet.accounts(ACCOUNTS, "unlimited").await;
    let load = fleet.steady(300, calls_of(&keys), Duration::from_secs(180));
    let load = load.start().await.unwrap();
    for upgrade in 0..4 {
        fleet.more_calls(100).await;
        let gateway = &mut fleet.stack.gateways[0];
        gateway.begin_upgrade().unwrap();
        gateway.upgraded().await.unwrap();
        // The elder drains, and both are killed in the middle of it.
        if upgrade == 2 {
            gateway.restart().await.unwrap();
        } else {
            gateway.is_alone(SOON).await.unwrap();
        }
    }
    load.stop().await.unwrap();
    let seen = fleet.tally.by_key();
    fleet.stack.all_gateways_connected().await;
    fleet.counted(&keys, &seen).await;
}

/// A tier that limits nothing.
const UNLIMITED: &str = "[[tiers]]\nkey = \"unlimited\"\nname = \"Unlimited\"\nannual_price = 0\n\
    annual_limit = 1000000000\nrate_limit = \"1000000/s\"\nburst_limit = 1000000\nsla = \"99.9%\"\n";

impl Fleet {
    /// Waits until so many more calls have reached the upstream.
    async fn more_calls(&self, calls: u64) {
        let before = self.tally.total();
        let went_on = eventually(SOON, || async {
            let more = self.tally.total() - before;
            anyhow::ensure!(more >= calls, "only {more} calls");
            Ok(())
        });
        went_on.await.unwrap();
    }

    /// Waits until the control plane has counted exactly this for each key, and the sum for each account. It never
    /// counts more.
    async fn counted(&self, keys: &[Account], seen: &BTreeMap<String, u64>) {
        let arrived = eventually(CAUGHT_UP, || async {
            let (mut by_key, mut by_account) = (BTreeMap::new(), BTreeMap::new());
            for account in &keys[..ACCOUNTS] {
                by_key.append(&mut self.exported(&account.id).await);
                let path = format!("/admin/usage/{}", account.id);
                let shown = self.stack.admin(Method::GET, &path, Value::Null).await;
                let shown = shown.expect(200).json();
                by_account.insert(&account.id, shown["quota"]["used"].as_u64().unwrap());
            }
            for (key, count) in &by_key {
                assert!(
                    seen.get(key).is_some_and(|seen| count <= seen),
                    "{by_key:?} of {seen:?}"
                );
            }
            anyhow::ensure!(by_key == *seen, "{by_key:?} of {seen:?}");
            for (account, count) in by_account {
                let of_it = keys.iter().filter(|key| key.id == *account);
                let expected: u64 = of_it.filter_map(|key| seen.get(&key.key_id)).sum();
                anyhow::ensure!(count == expected, "{count} of {expected}: {account}");
            }
            Ok(())
        });
        arrived.await.unwrap();
    }
}
