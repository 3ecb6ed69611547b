//! A gateway without room on its disk: it serves what it had, is named where a change waits for it, and catches up
//! once there is room. The bound is one for the size of its files, which stands for the disk's.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keyward_harness::{GatewayProcess, GatewaySetup, eventually};
use keyward_upstream::Upstream;
use reqwest::Method;
use serde_json::Value;

use crate::api::{Account, Answer, Customer};
use crate::stack::{Plan, SOON, Stack};
use crate::wire::{Keys, call};

/// What is longer finds no room: more than the file of the acknowledged revision, which is written in place.
const ROOM: u64 = 8 * 1024;
const WAIT: Duration = Duration::from_secs(1);

/// The gateway's program, such that a file that may not grow is an error of the write and no signal.
fn program(folder: &Path) -> std::path::PathBuf {
    let (path, gateway) = (
        folder.join("gateway.sh"),
        keyward_harness::binary("keyward-gateway").unwrap(),
    );
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", gateway.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn set_room(gateway: &GatewayProcess, bytes: &str) {
    let set = Command::new("prlimit")
        .arg(format!("--fsize={bytes}:unlimited"))
        .args(["--pid", &gateway.process().pid().to_string()])
        .status()
        .unwrap();
    assert!(set.success());
}

fn journal_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let journals = files.filter(|entry| entry.file_name().to_string_lossy().contains("journal"));
    journals.map(|entry| entry.metadata().unwrap().len()).sum()
}

fn keys<'a>(account: &'a Account, customer: &'a Customer) -> Keys<'a> {
    Keys {
        account: &account.key,
        customer: &customer.key,
    }
}

async fn end(stack: &Stack, account: &Account, customer: &Customer) -> Answer {
    let path = format!("/customers/{}", customer.id);
    let answer = stack.portal(&account.key, Method::DELETE, &path, Value::Null);
    answer.await.expect(204)
}

async fn becomes(gateway: SocketAddr, keys: Keys<'_>, status: u16) {
    let became = eventually(SOON, || async {
        let answered = call(gateway, keys).await.status;
        anyhow::ensure!(answered == status, "{answered}");
        Ok(())
    });
    became.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_room_serves_on_is_named_and_catches_up() {
    let mut stack = Stack::with(Plan {
        wait: WAIT,
        ..Plan::default()
    })
    .await;
    let upstream = Upstream::start(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let folder = stack.folder().join("edge-full");
    std::fs::create_dir_all(&folder).unwrap();
    let mut setup = GatewaySetup::new(&folder, &stack.control_plane, upstream.address());
    setup.id = "edge-full".to_owned();
    setup.binary = Some(program(&folder));
    stack.gateways.push(GatewayProcess::start(&setup).await.unwrap());
    stack.all_gateways_connected().await;

    let account = stack.account().await;
    let mut customers = Vec::new();
    while customers.len() < 3 || journal_bytes(&folder.join("replica")) <= ROOM {
        let name = format!("customer-{}", customers.len());
        customers.push(stack.api.customer(&account.key, &name).await);
    }
    let [ended, living, last] = [&customers[0], &customers[1], &customers[2]];
    stack.all_gateways_connected().await;
    let full = stack.gateways[1].address();
    becomes(full, keys(&account, ended), 200).await;

    set_room(&stack.gateways[1], &ROOM.to_string());
    let answer = end(&stack, &account, ended).await;
    assert_eq!(
        answer.header("keyward-propagation"),
        "partial; gateways=1; missing=edge-full"
    );
    assert_eq!(call(stack.gateway(), keys(&account, ended)).await.status, 403);
    assert_eq!(call(full, keys(&account, living)).await.status, 200);
    // What was in force is so after a restart, whatever the writes without room have left.
    stack.gateways[1].kill();
    let again = GatewayProcess::start(&setup);
    stack.gateways[1] = again.await.unwrap();
    let full = stack.gateways[1].address();
    becomes(full, keys(&account, ended), 403).await;
    assert_eq!(call(full, keys(&account, living)).await.status, 200);
    stack.all_gateways_connected().await;

    // And without one.
    set_room(&stack.gateways[1], &ROOM.to_string());
    let answer = end(&stack, &account, living).await;
    assert_eq!(
        answer.header("keyward-propagation"),
        "partial; gateways=1; missing=edge-full"
    );
    set_room(&stack.gateways[1], "unlimited");
    becomes(full, keys(&account, living), 403).await;
    stack.all_gateways_connected().await;
    end(&stack, &account, last).await.in_force_at(2);
    assert_eq!(call(full, keys(&account, last)).await.status, 403);
}
