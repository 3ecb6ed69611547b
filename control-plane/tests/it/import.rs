//! `keyward-control-plane import`: the program itself, on the database of a running control plane.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use keyward_contract::{Environment, KeyKind, PlainKey};
use serde_json::{Value, json};

use crate::plane::{self, Plane};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_keyward-control-plane");

/// The configuration of this plane, as a file.
pub(crate) fn configuration(plane: &Plane, digest_key: Option<&Path>) -> PathBuf {
    let config = plane::config(&plane.folder);
    let secrets = &config.secrets;
    let text = format!(
        "[database]\nurl = \"{}\"\n[secrets]\nmaster_key_file = \"{}\"\ndigest_key_file = \"{}\"\n\
         gateway_token_file = \"{}\"\n",
        config.database_url,
        secrets.master_key.display(),
        digest_key.unwrap_or(&secrets.digest_key).display(),
        secrets.gateway_token.display(),
    );
    let path = plane.folder.path().join("moving.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What was told of a run.
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) report: Vec<Value>,
    pub(crate) all: String,
}

impl Told {
    fn of(ran: &Output) -> Self {
        let (out, err) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        Self {
            code: ran.status.code().unwrap(),
            report: out
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
            all: format!("{out}{err}"),
        }
    }

    fn statuses(&self) -> Vec<&str> {
        self.report
            .iter()
            .map(|line| line["status"].as_str().unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all);
        self
    }
}

fn run(plane: &Plane, file: &Path, arguments: &[&str]) -> Told {
    run_with(plane, file, arguments, b"", None)
}

pub(crate) fn run_with(
    plane: &Plane,
    file: &Path,
    arguments: &[&str],
    input: &[u8],
    digest_key: Option<&Path>,
) -> Told {
    let mut running = Command::new(PROGRAM)
        .arg("import")
        .arg(file)
        .arg("--config")
        .arg(configuration(plane, digest_key))
        .args(arguments)
        .env("KEYWARD_LOG", "trace")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading it.
    let _ = running.stdin.take().unwrap().write_all(input);
    Told::of(&running.wait_with_output().unwrap())
}

fn file(plane: &Plane, name: &str, lines: &[Value]) -> PathBuf {
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let path = plane.folder.path().join(name);
    std::fs::write(&path, text.join("\n")).unwrap();
    path
}

fn key(kind: KeyKind, environment: Environment) -> PlainKey {
    PlainKey::mint(kind, environment).unwrap()
}

fn company(reference: &str) -> Value {
    json!({"kind": "customer", "ref": reference, "company_name": "Acme", "contact_email": "a@example.com", "tier": "growth"})
}

/// A company with a user, an end customer and a key of each kind.
fn whole(account_key: &PlainKey, customer_key: &PlainKey) -> Vec<Value> {
    vec![
        company("c-1"),
        json!({"kind": "user", "ref": "u-1", "customer": "c-1", "name": "Ada", "email": "ada@example.com",
               "claims": ["keys:read"], "permissions": ["company.keys:list"]}),
        json!({"kind": "end_customer", "ref": "e-1", "customer": "c-1", "environment": "production", "name": "Uni"}),
        json!({"kind": "api_key", "ref": "k-1", "customer": "c-1", "user": "u-1", "key": account_key.expose(),
               "name": "ci", "allowed_ips": ["127.0.0.1"], "expires_at": "2099-01-01", "origin": "keys"}),
        json!({"kind": "api_key", "ref": "k-2", "customer": "c-1", "end_customer": "e-1", "key": customer_key.expose()}),
    ]
}

async fn customers(plane: &Plane) -> Vec<Value> {
    let listed = plane
        .admin("GET", "/admin/customers?limit=1000")
        .send()
        .await
        .expect(200)
        .json();
    listed["customers"].as_array().unwrap().clone()
}

async fn revision(plane: &Plane) -> u64 {
    let shown = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    shown["revision"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_out_elsewhere_works_here_and_a_repeat_changes_nothing() {
    let plane = Plane::start().await;
    let account_key = key(KeyKind::Account, Environment::Production);
    let customer_key = key(KeyKind::Customer, Environment::Production);
    let file = file(&plane, "in.jsonl", &whole(&account_key, &customer_key));
    let before = revision(&plane).await;
    let first = run(&plane, &file, &[]).expect(0);
    assert_eq!(first.statuses(), ["created"; 5]);
    assert_eq!(revision(&plane).await, before + 1, "a batch is one change");
    // The account key calls, and sees its end customer with the key that it had.
    let listed = plane
        .call("GET", "/customers")
        .key(account_key.expose())
        .send()
        .await
        .expect(200)
        .json();
    let id = listed["data"][0]["id"].as_str().unwrap();
    assert_eq!(first.report[2]["id"], id);
    let shown = plane
        .call("GET", format!("/customers/{id}"))
        .key(account_key.expose())
        .send()
        .await;
    assert_eq!(shown.expect(200).json()["apiKey"], customer_key.expose());
    let account = first.report[0]["id"].as_str().unwrap();
    let keys = plane
        .admin("GET", format!("/admin/customers/{account}/api-keys"))
        .send()
        .await
        .expect(200)
        .json();
    let shown = &keys["api_keys"][0];
    assert_eq!(
        (
            &shown["name"],
            &shown["allowed_ips"],
            &shown["expires_at"],
            &shown["api_key_id"]
        ),
        (
            &json!("ci"),
            &json!(["127.0.0.1"]),
            &json!("2099-01-01T00:00:00Z"),
            &first.report[3]["id"]
        )
    );
    // Who did it.
    let events = plane
        .admin("GET", "/admin/audit?limit=1")
        .send()
        .await
        .expect(200)
        .json();
    let event = &events["events"][0];
    assert_eq!(
        (&event["action"], &event["actor"]),
        (&json!("import.made"), &json!({"kind": "system", "id": "import"}))
    );
    assert_eq!(
        event["after"]["created"],
        json!({"api_key": 2, "customer": 1, "end_customer": 1, "user": 1})
    );
    // Once more.
    let again = run(&plane, &file, &[]).expect(0);
    assert_eq!(again.statuses(), ["exists"; 5]);
    let ids = |told: &Told| {
        told.report
            .iter()
            .map(|line| line["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&again), ids(&first));
    assert_eq!(revision(&plane).await, before + 1);
    // No key is anywhere but in the file that brought it.
    std::fs::remove_file(&file).unwrap();
    for key in [&account_key, &customer_key] {
        let secret = &key.expose()[8..40];
        assert!(!first.all.contains(secret) && !again.all.contains(secret));
        for entry in std::fs::read_dir(plane.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{}",
                path.display()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_is_left_out_alone_and_told_by_its_field() {
    let plane = Plane::start().await;
    let (account_key, customer_key) = (
        key(KeyKind::Account, Environment::Production),
        key(KeyKind::Customer, Environment::Production),
    );
    let mut mistyped = account_key.expose().to_owned();
    mistyped.replace_range(10..11, if &mistyped[10..11] == "a" { "b" } else { "a" });
    let admin = key(KeyKind::Admin, Environment::Production);
    let api_key = |more: Value| {
        let mut line = json!({"kind": "api_key", "customer": "c-1"});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        line
    };
    let edited = |field: &str, value: Value| {
        let mut line = company("c-x");
        line[field] = value;
        line
    };
    let second = key(KeyKind::Customer, Environment::Production);
    let third = key(KeyKind::Account, Environment::Production);
    let bad = [
        (json!({"ref": "x"}), "kind"),
        (json!({"kind": "nonsense"}), "kind"),
        (json!([1]), "line"),
        (json!({"kind": "customer", "nonsense": 1}), "line"),
        (json!({"kind": "customer", "digest": "x"}), "digest"),
        (edited("company_name", json!("")), "company_name"),
        (edited("contact_email", json!("x")), "contact_email"),
        (edited("tier", json!("none")), "tier"),
        (edited("status", json!("asleep")), "status"),
        (edited("sandbox", json!("yes")), "sandbox"),
        (edited("contract_end", json!("yesterday")), "contract_end"),
        (edited("id", json!("7")), "id"),
        (
            edited("test_user_key_limit", json!(100_001)),
            "test_user_key_limit",
        ),
        (edited("key", json!(account_key.expose())), "key"),
        (
            json!({"kind": "end_customer", "customer": "nobody", "environment": "test", "name": "x"}),
            "customer",
        ),
        (
            json!({"kind": "end_customer", "customer": "c-1", "environment": "staging", "name": "x"}),
            "environment",
        ),
        (
            json!({"kind": "end_customer", "customer": "c-1", "environment": "test", "name": "x", "rate_limit": 1}),
            "burst_limit",
        ),
        (
            json!({"kind": "user", "customer": "c-1", "name": "x", "email": "x"}),
            "email",
        ),
        (
            json!({"kind": "user", "customer": "c-1", "name": "x", "email": "a@b.co", "permissions": ["all"]}),
            "permissions",
        ),
        (api_key(json!({})), "key"),
        (api_key(json!({"key": 7})), "key"),
        (api_key(json!({"key": mistyped})), "key"),
        (api_key(json!({"key": "sk_live_of_another_product"})), "key"),
        (api_key(json!({"key": admin.expose()})), "key"),
        (api_key(json!({"key": customer_key.expose()})), "key"),
        (
            api_key(json!({"key": account_key.expose(), "environment": "test"})),
            "environment",
        ),
        (
            api_key(json!({"key": account_key.expose(), "end_customer": "e-1"})),
            "key",
        ),
        (
            api_key(json!({"key": account_key.expose(), "digest": "00"})),
            "digest",
        ),
        (
            api_key(json!({"key": account_key.expose(), "user": "nobody"})),
            "user",
        ),
        (
            api_key(json!({"key": account_key.expose(), "origin": "portal"})),
            "origin",
        ),
        (
            api_key(json!({"key": account_key.expose(), "allowed_ips": [customer_key.expose()]})),
            "allowed_ips",
        ),
        (
            api_key(json!({"key": third.expose(), "api_version": "1999-01-01"})),
            "api_version",
        ),
        (
            api_key(json!({"digest": "00", "mask": "pk_live_4f…9aZ"})),
            "digest",
        ),
        (api_key(json!({"digest": "00".repeat(32)})), "mask"),
        (
            api_key(json!({"digest": "00".repeat(32), "mask": account_key.expose()})),
            "mask",
        ),
        (
            api_key(json!({"key": customer_key.expose(), "end_customer": "nobody"})),
            "end_customer",
        ),
    ];
    let good = whole(&account_key, &customer_key);
    let mut lines = good.clone();
    lines.extend(bad.iter().map(|(line, _)| line.clone()));
    // It has one, and a key is one account's.
    lines.push(json!({"kind": "api_key", "customer": "c-1", "end_customer": "e-1", "key": second.expose()}));
    lines.push(company("c-2"));
    lines.push(json!({"kind": "api_key", "customer": "c-2", "key": account_key.expose()}));
    lines
        .push(json!({"kind": "end_customer", "customer": "c-1", "environment": "production", "name": "Uni"}));
    let mut expected: Vec<(&str, Value)> = good.iter().map(|_| ("created", Value::Null)).collect();
    expected.extend(bad.iter().map(|(_, field)| ("error", json!(field))));
    expected.extend([
        ("error", json!("end_customer")),
        ("created", Value::Null),
        ("error", json!("key")),
        ("error", Value::Null),
    ]);
    let file = file(&plane, "in.jsonl", &lines);
    // A dry run says the same, and changes nothing.
    let before = revision(&plane).await;
    let rehearsed = run(&plane, &file, &["--dry-run"]).expect(1);
    assert_eq!(revision(&plane).await, before);
    assert!(customers(&plane).await.is_empty());
    for told in [rehearsed, run(&plane, &file, &[]).expect(1)] {
        let seen = told
            .report
            .iter()
            .map(|line| (line["status"].as_str().unwrap(), line["field"].clone()));
        for (index, (seen, expected)) in seen.zip(&expected).enumerate() {
            assert_eq!(&seen, expected, "{}: {}", lines[index], told.report[index]);
        }
        assert_eq!(told.report.len(), expected.len());
        assert!(
            told.report
                .iter()
                .enumerate()
                .all(|(index, line)| line["line"] == index as u64 + 1)
        );
        let failed = told.report.iter().filter(|line| line["status"] == "error");
        assert!(
            failed
                .clone()
                .all(|line| line["message"].as_str().is_some_and(|text| !text.is_empty()))
        );
        for secret in [
            account_key.expose(),
            customer_key.expose(),
            second.expose(),
            admin.expose(),
            &mistyped,
        ] {
            assert!(!told.all.contains(secret));
        }
    }
    assert_eq!(customers(&plane).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csv_says_the_same_by_its_header() {
    let plane = Plane::start().await;
    let account_key = key(KeyKind::Account, Environment::Test);
    let text = format!(
        "kind,ref,customer,company_name,contact_email,tier,key,name,allowed_ips,metadata\r\n\
         customer,c-1,,\"Acme, Inc.\",a@example.com,starter,,,,\"{{\"\"crm\"\":\"\"7\"\"}}\"\r\n\
         api_key,k-1,c-1,,,,{},ci,127.0.0.1; 10.0.0.0/8,\r\n\
         api_key,k-2,c-1,,,,{},\r\n",
        account_key.expose(),
        account_key.expose()
    );
    let path = plane.folder.path().join("in.csv");
    std::fs::write(&path, text).unwrap();
    let report = plane.folder.path().join("report");
    let told = run(&plane, &path, &["--report", report.to_str().unwrap()]).expect(1);
    assert!(
        told.report.is_empty() && told.all.contains("2 created, 0 there already, 1 wrong"),
        "{}",
        told.all
    );
    let told = std::fs::read_to_string(report).unwrap();
    assert!(told.contains("has 8 cells, and the header 10") && !told.contains(account_key.expose()));
    plane
        .call("GET", "/customers")
        .key(account_key.expose())
        .send()
        .await
        .expect(200);
    let shown = &customers(&plane).await[0];
    assert_eq!(
        (&shown["company_name"], &shown["metadata"]),
        (&json!("Acme, Inc."), &json!({"crm": "7"}))
    );
    // From standard input, whose name says nothing.
    let input = "kind,ref,company_name,contact_email,tier\ncustomer,c-1,Acme,a@example.com,starter\n";
    let told = run_with(
        &plane,
        Path::new("-"),
        &["--format", "csv"],
        input.as_bytes(),
        None,
    )
    .expect(0);
    assert_eq!(told.statuses(), ["exists"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_begun_is_2() {
    let plane = Plane::start().await;
    let nowhere = plane.folder.path().join("nowhere");
    run(&plane, &nowhere, &[]).expect(2);
    run(&plane, plane.folder.path(), &[]).expect(2);
    let header = plane.folder.path().join("bad.csv");
    std::fs::write(&header, "kind,nonsense\n").unwrap();
    run(&plane, &header, &[]).expect(2);
    run_with(&plane, Path::new("-"), &["--resume"], b"", None).expect(2);
    let good = file(&plane, "in.jsonl", &[company("c-1"), company("c-2")]);
    run(&plane, &good, &["--resume", "--dry-run"]).expect(2);
    run(&plane, &good, &["--format", "xml"]).expect(2);
    // A file that was changed where it was taken already can't be gone on with.
    run(&plane, &good, &["--resume"]).expect(0);
    let resumed = run(&plane, &good, &["--resume"]).expect(0);
    assert!(
        resumed.report.is_empty() && resumed.all.contains("2 taken before"),
        "{}",
        resumed.all
    );
    file(&plane, "in.jsonl", &[company("c-3"), company("c-2")]);
    run(&plane, &good, &["--resume"]).expect(2);
    assert_eq!(customers(&plane).await.len(), 2);
    // Lines that were added are taken.
    file(&plane, "in.jsonl", &[company("c-1"), company("c-2")]);
    let mut added = std::fs::OpenOptions::new().append(true).open(&good).unwrap();
    write!(added, "\n{}\n", company("c-3")).unwrap();
    run(&plane, &good, &[]).expect(0);
    assert_eq!(customers(&plane).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_goes_on_where_it_stopped_and_makes_nothing_twice() {
    const LINES: usize = 2_400;
    let plane = Plane::start().await;
    let lines: Vec<Value> = (0..LINES)
        .map(|n| {
            let mut line = company(&format!("c-{n}"));
            line["sandbox"] = json!(false);
            line
        })
        .collect();
    let path = file(&plane, "in.jsonl", &lines);
    let start = || {
        Command::new(PROGRAM)
            .arg("import")
            .arg(&path)
            .arg("--config")
            .arg(configuration(&plane, None))
            .arg("--resume")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let begun = revision(&plane).await;
    for batches in [1, 2] {
        let mut running = start();
        let deadline = Instant::now() + Duration::from_secs(60);
        while revision(&plane).await < begun + batches && running.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "no batch was taken in time");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.kill().unwrap();
        running.wait().unwrap();
        // Whole batches, whatever the moment.
        let made = revision(&plane).await - begun;
        let pages = accounts(&plane).await;
        assert_eq!(pages as u64, (made * 500).min(LINES as u64));
    }
    let last = run(&plane, &path, &["--resume"]).expect(0);
    assert!(
        last.report.iter().all(|line| line["status"] == "created"),
        "what was taken is not looked at again"
    );
    assert_eq!(accounts(&plane).await, LINES);
    assert_eq!(revision(&plane).await, begun + 5);
}

async fn accounts(plane: &Plane) -> usize {
    let (mut count, mut cursor) = (0, String::new());
    loop {
        let path = format!("/admin/customers?limit=1000{cursor}");
        let page = plane.admin("GET", path).send().await.expect(200).json();
        count += page["customers"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return count,
        }
    }
}
