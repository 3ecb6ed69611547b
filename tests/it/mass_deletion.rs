//! A control plane on the wrong database empties no gateway.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyward_harness::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use crate::stack::{Plan, SOON, Stack};
use crate::wire::Wire;

const ROUTES: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";
/// More than so few keys that a snapshot may drop as it likes.
const KEYS: usize = 60;

async fn shown(stack: &Stack) -> Value {
    let told = stack.admin(Method::GET, "/admin/gateways", Value::Null).await;
    told.expect(200).json()["gateways"][0].clone()
}

async fn status(stack: &Stack, key: &str) -> u16 {
    Wire::open(stack.gateway())
        .await
        .get_as_account("/", key)
        .await
        .status
}

/// The files of the database.
fn database(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|file| file.file_name().unwrap().to_string_lossy().contains(".db"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_the_keys_empties_no_gateway_until_an_operator_confirms() {
    let plan = Plan {
        routes: ROUTES,
        ..Plan::default()
    };
    let mut stack = Stack::with(plan).await;
    let old = stack.account().await;
    // The database as it is now comes back later.
    stack.control_plane.stop(SOON).await.unwrap();
    let kept = tempfile::tempdir().unwrap();
    let files = database(stack.control_plane.folder());
    assert!(
        !files.is_empty(),
        "no database in {}",
        stack.control_plane.folder().display()
    );
    for file in &files {
        std::fs::copy(file, kept.path().join(file.file_name().unwrap())).unwrap();
    }
    stack.control_plane.restart().await.unwrap();
    stack.all_gateways_connected().await;
    let mut accounts = Vec::new();
    // Each has a test key and a production key.
    for _ in 0..KEYS {
        accounts.push(stack.account().await);
    }
    let new = accounts.last().unwrap();
    assert_eq!(
        (status(&stack, &old.key).await, status(&stack, &new.key).await),
        (200, 200)
    );

    stack.control_plane.kill();
    for file in database(stack.control_plane.folder()) {
        std::fs::remove_file(file).unwrap();
    }
    for file in database(kept.path()) {
        std::fs::copy(
            &file,
            stack.control_plane.folder().join(file.file_name().unwrap()),
        )
        .unwrap();
    }
    stack.control_plane.restart().await.unwrap();
    let holding = eventually(SOON, || async {
        let shown = shown(&stack).await;
        anyhow::ensure!(shown["state"] == "holding", "{shown}");
        Ok(shown)
    });
    let held = holding.await.unwrap()["held_snapshot"].clone();
    assert_eq!(held["dropped_keys"], json!(2 * KEYS), "{held}");
    assert_eq!(
        (status(&stack, &old.key).await, status(&stack, &new.key).await),
        (200, 200)
    );

    // What takes rights away is in force, and is not said to be acknowledged.
    let path = format!("/admin/customers/{}/api-keys/{}", old.id, old.key_id);
    let revoked = stack.admin(Method::DELETE, &path, Value::Null).await.expect(200);
    assert_eq!(
        revoked.header("keyward-propagation"),
        "partial; gateways=0; missing=edge-1"
    );
    let dead = eventually(Duration::from_secs(5), || async {
        let status = status(&stack, &old.key).await;
        anyhow::ensure!(status == 401, "{status}");
        Ok(())
    });
    dead.await.unwrap();

    let body = json!({ "revision": held["revision"] });
    let confirm = stack.admin(Method::POST, "/admin/gateways/edge-1/confirm-snapshot", body);
    confirm.await.expect(202);
    stack.all_gateways_connected().await;
    assert_eq!(
        (status(&stack, &old.key).await, status(&stack, &new.key).await),
        (401, 401)
    );
}
