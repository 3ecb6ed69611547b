//! `keyward-control-plane export`: what it writes, what it keeps to itself, and that `import` reads it. The programs run
//! beside the control plane, so its threads are not the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::import::{PROGRAM, configuration, run_with};
use crate::plane::{Company, Plane, config};

fn export(plane: &Plane, name: &str, arguments: &[&str]) -> PathBuf {
    let out = plane.folder.path().join(name);
    let ran = Command::new(PROGRAM)
        .args(["export", "--config"])
        .arg(configuration(plane, None))
        .arg("--out")
        .arg(&out)
        .args(arguments)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    out
}

/// A company with something of everything, some of it dead.
async fn filled(plane: &Plane) -> (Company, Vec<String>, Vec<String>) {
    let company = plane.company("Acme, \"Inc.\"").await;
    let dead = plane.account_key(&company.id, &json!({"name": "old"})).await;
    let path = format!(
        "/admin/customers/{}/api-keys/{}",
        company.id,
        dead["api_key_id"].as_str().unwrap()
    );
    plane.admin("DELETE", path).send().await.expect(200);
    let body =
        json!({"name": "ci", "expires_at": "2099-01-01", "allowed_ips": ["127.0.0.1", "2001:db8::/32"]});
    let ruled = plane.account_key(&company.id, &body).await;
    let living = plane.customer(&company.live, "Uni").await;
    let gone = plane.customer(&company.live, "Gone").await;
    let path = format!("/customers/{}", gone["id"].as_str().unwrap());
    plane
        .call("DELETE", path)
        .key(&company.live)
        .send()
        .await
        .expect(204);
    let account = format!("/admin/customers/{}", company.id);
    let notes = json!({"metadata": {"crm": "7,\n\"8\""}, "contract_start": "2026-01-01", "contract_end": "2099-12-31"});
    plane.admin("PUT", &account).json(&notes).send().await.expect(200);
    let suspended = plane.company("Suspended").await;
    let path = format!("/admin/customers/{}", suspended.id);
    plane
        .admin("PUT", path)
        .json(&json!({"status": "suspended"}))
        .send()
        .await
        .expect(200);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let works = vec![
        company.live.clone(),
        company.test.clone(),
        text(&ruled, "api_key"),
    ];
    let others = vec![
        text(&dead, "api_key"),
        text(&living, "apiKey"),
        text(&gone, "apiKey"),
        suspended.live,
    ];
    (company, works, others)
}

async fn second(first: &Plane) -> Plane {
    let digest_key = config(&first.folder).secrets.digest_key;
    let copied = std::fs::read(digest_key).unwrap();
    Plane::start_with(move |config| std::fs::write(&config.secrets.digest_key, &copied).unwrap()).await
}

async fn check_round_trip(name: &str) {
    let first = Plane::start().await;
    let (company, works, others) = filled(&first).await;
    let file = export(&first, name, &["--with-digests"]);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    for key in works.iter().chain(&others) {
        assert!(!text.contains(&key[8..40]), "a key is in the export");
    }
    let second = second(&first).await;
    let told = run_with(&second, &file, &[], b"", None).expect(0);
    assert!(
        told.report.iter().all(|line| line["status"] != "error"),
        "{}",
        told.all
    );
    for key in &works {
        second.call("GET", "/customers").key(key).send().await.expect(200);
    }
    // Revoked, not unknown.
    let dead = second
        .call("GET", "/customers")
        .key(&others[0])
        .send()
        .await
        .expect(401);
    let unknown = first
        .call("GET", "/customers")
        .key(&others[0])
        .send()
        .await
        .expect(401);
    assert_eq!(dead.json()["error"]["code"], unknown.json()["error"]["code"]);
    second
        .call("GET", "/customers")
        .key(&others[3])
        .send()
        .await
        .expect(403);
    let path = format!("/admin/customers/{}", company.id);
    let shown = first.admin("GET", &path).send().await.expect(200).json();
    assert_eq!(second.admin("GET", &path).send().await.expect(200).json(), shown);
    // What is written there is what was written here, to the last line, but for what each says of its own.
    let copy = export(&second, name, &["--with-digests"]);
    assert_eq!(std::fs::read_to_string(copy).unwrap(), text);
    let again = run_with(&second, &file, &[], b"", None).expect(0);
    assert!(again.report.iter().all(|line| line["status"] == "exists"));
    // Keys that came by digest are rotated like any other.
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let listed = second.admin("GET", &keys).send().await.expect(200).json();
    let ruled = listed["api_keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["name"] == "ci")
        .unwrap();
    let rotate = format!("{keys}/{}/rotate", ruled["api_key_id"].as_str().unwrap());
    second.admin("POST", rotate).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_with_digests_moves_the_keys_themselves() {
    check_round_trip("all.jsonl").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_as_csv_moves_the_same() {
    check_round_trip("all.csv").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_digests_nobody_can_test_a_guess() {
    let plane = Plane::start().await;
    let (company, ..) = filled(&plane).await;
    let out = Command::new(PROGRAM)
        .args(["export", "--config"])
        .arg(configuration(&plane, None))
        .output()
        .unwrap();
    assert!(out.status.success());
    let lines: Vec<Value> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0], json!({"kind": "export", "version": 1}));
    assert!(
        lines
            .iter()
            .all(|line| line.get("digest").is_none() && line.get("key").is_none())
    );
    let kinds = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    // Sandbox customers and deleted ones are among them, with their keys.
    assert_eq!(
        ["tier", "customer", "end_customer", "api_key"].map(kinds),
        [5, 2, 4, 10],
        "{lines:#?}"
    );
    let account = lines
        .iter()
        .find(|line| line["id"] == company.id.as_str())
        .unwrap();
    assert_eq!(account["company_name"], "Acme, \"Inc.\"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digests_of_another_digest_key_are_refused() {
    let first = Plane::start().await;
    filled(&first).await;
    let file = export(&first, "all.jsonl", &["--with-digests"]);
    let other = Plane::start().await;
    let told = run_with(&other, &file, &[], b"", None).expect(1);
    let failed: Vec<_> = told
        .report
        .iter()
        .filter(|line| line["status"] == "error")
        .map(|line| (line["kind"].as_str().unwrap(), line["field"].as_str().unwrap()))
        .collect();
    assert_eq!(failed[0], ("export", "digest_key"));
    assert!(
        failed[1..].iter().all(|line| *line == ("api_key", "digest")) && failed.len() == 11,
        "{failed:?}"
    );
    // Also when the run is taken up behind the first line.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"ref\":", "\"ref\": ")).unwrap();
    let again = run_with(&other, &file, &[], b"", None).expect(1);
    assert!(again.report.iter().any(|line| line["field"] == "digest"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_can_not_be_made_is_2() {
    let plane = Plane::start().await;
    let ran = Command::new(PROGRAM)
        .args(["export", "--config"])
        .arg(configuration(&plane, None))
        .arg("--out")
        .arg(Path::new("/proc/nowhere/all.jsonl"))
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(2));
}
