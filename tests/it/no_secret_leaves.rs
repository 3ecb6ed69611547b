//! No secret leaves: wherever a key is put by whoever calls, it is found in no file, no log at any level, no
//! metric, no state page and no refusal afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyward_harness::{Standalone, eventually};
use memchr::memmem;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Account, By, Customer, text};
use crate::stack::{Plan, SOON, Stack, page};
use crate::wire::{Keys, Wire};

/// So many characters of a key's random part are enough to be looked for, in whatever they are wrapped.
const TELLING: usize = 20;

/// The secrets that were used, by what they are.
#[derive(Debug, Default)]
struct Secrets(BTreeMap<String, String>);

impl Secrets {
    fn add(&mut self, what: &str, key: &str) {
        self.add_random(what, key.rsplit('_').next().unwrap());
    }

    /// One that is random from its first character on.
    fn add_random(&mut self, what: &str, random: &str) {
        assert!(random.len() > TELLING, "no key");
        self.0.insert(what.to_owned(), random[..TELLING].to_owned());
    }

    /// Panics when one of them is in there, in any case.
    fn check(&self, place: &str, bytes: &[u8]) {
        let lowered = bytes.to_ascii_lowercase();
        for (what, telling) in &self.0 {
            let found = memmem::find(&lowered, telling.to_ascii_lowercase().as_bytes());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(200)..(at + 20).min(bytes.len())];
                panic!("the {what} is in {place}: …{}", String::from_utf8_lossy(around));
            }
        }
    }

    /// The same for every file below a folder but one. Gives how many were looked at.
    fn check_files(&self, folder: &Path, but: Option<&Path>) -> usize {
        let files = files(folder);
        let looked_at = files.iter().filter(|file| Some(file.as_path()) != but);
        looked_at
            .map(|file| self.check(&file.display().to_string(), &std::fs::read(file).unwrap()))
            .count()
    }
}

#[tokio::test]
async fn no_key_is_in_a_file_a_log_a_metric_or_a_refusal() {
    let access_log = tempfile::NamedTempFile::new().unwrap();
    let tables = format!("[access_log]\npath = \"{}\"\n", access_log.path().display());
    let plan = Plan {
        gateway_tables: &tables,
        log: "trace",
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let mut secrets = Secrets::default();
    secrets.add("admin key", &stack.admin);
    let (account, customer) = managed(&stack, &mut secrets).await;
    of_people(&stack, &account, &mut secrets).await;
    called(&stack, &secrets, &account, &customer).await;
    logged(access_log.path()).await;

    for (place, url) in [
        (
            "the gateway's metrics",
            format!("{}/metrics", stack.gateways[0].admin_url()),
        ),
        (
            "the gateway's state",
            format!("{}/debug/state", stack.gateways[0].admin_url()),
        ),
        (
            "the gateway's readiness",
            format!("{}/readyz", stack.gateways[0].admin_url()),
        ),
        (
            "the control plane's metrics",
            format!("{}/metrics", stack.control_plane.admin_url()),
        ),
        (
            "the control plane's readiness",
            format!("{}/readyz", stack.control_plane.admin_url()),
        ),
    ] {
        let shown = page(&url).await;
        assert!(shown.len() > 20, "{place} is empty");
        secrets.check(place, shown.as_bytes());
    }
    for path in [
        "/admin/audit",
        "/admin/customers",
        "/admin/gateways",
        "/admin/admin-keys",
        "/admin/webhooks",
        "/admin/audit/export",
    ] {
        let shown = stack.admin(Method::GET, path, Value::Null).await;
        secrets.check(path, shown.expect(200).text.as_bytes());
    }
    let log = std::fs::read(access_log.path()).unwrap();
    secrets.check("the access log", &log);
    // While everything runs, with what the database has not folded in yet; and once more after a clean end.
    assert!(secrets.check_files(stack.folder(), None) > 8);
    stack.gateways[0].stop(SOON).await.unwrap();
    stack.control_plane.stop(SOON).await.unwrap();
    assert!(secrets.check_files(stack.folder(), None) > 8);
    let logs = stack.gateways[0].process().stderr().unwrap().len()
        + stack.control_plane.process().stderr().unwrap().len();
    assert!(logs > 10_000, "hardly anything was logged: {logs} bytes");
}

#[tokio::test]
async fn standalone_shows_its_first_keys_on_standard_output_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let log = [("KEYWARD_LOG", "trace")];
    let first = Standalone::start_in(&data, &log).await.unwrap();
    let demo = first.demo().unwrap().clone();
    let mut secrets = Secrets::default();
    secrets.add("admin key", &demo.admin_key);
    for (name, made) in [("production", &demo.production), ("test", &demo.test)] {
        secrets.add(&format!("{name} account key"), &made.account_key);
        secrets.add(&format!("{name} customer key"), &made.customer_key);
        let gateway = first.addresses().gateway.strip_prefix("http://").unwrap();
        let mut wire = Wire::open(gateway.parse().unwrap()).await;
        let keys = Keys {
            account: &made.account_key,
            customer: &made.customer_key,
        };
        assert_eq!(wire.call(keys).await.status, 200);
    }
    first.stop(SOON).await.unwrap();
    let output = folder.path().join("keyward.stdout");
    let printed = std::fs::read_to_string(&output).unwrap();
    for key in [
        &demo.admin_key,
        &demo.production.account_key,
        &demo.test.customer_key,
    ] {
        assert_eq!(printed.matches(key.as_str()).count(), 1);
    }
    let second = Standalone::start_in(&data, &log).await.unwrap();
    assert!(secrets.check_files(folder.path(), Some(&output)) > 5);
    second.stop(SOON).await.unwrap();
    let printed_again = std::fs::read_to_string(&output).unwrap();
    secrets.check(
        "the second start's output",
        &printed_again.as_bytes()[printed.len()..],
    );
}

/// Every way to make, show, change and end a key. Gives an account and an end customer that may call.
async fn managed(stack: &Stack, secrets: &mut Secrets) -> (Account, Customer) {
    let account = stack.account().await;
    secrets.add("first account key", &account.key);
    let keys_path = format!("/admin/customers/{}/api-keys", account.id);
    for environment in ["test", "production"] {
        let fields = json!({ "name": "ci", "environment": environment });
        let made = stack
            .admin(Method::POST, &keys_path, fields)
            .await
            .expect(201)
            .json();
        secrets.add(&format!("{environment} account key"), &text(&made["api_key"]));
        let path = format!("{keys_path}/{}/rotate", text(&made["api_key_id"]));
        let rotated = stack
            .admin(Method::POST, &path, json!({ "grace_seconds": 60 }))
            .await;
        let rotated = rotated.expect(200).json();
        secrets.add(&format!("rotated {environment} key"), &text(&rotated["api_key"]));
        let path = format!("{keys_path}/{}", text(&rotated["api_key_id"]));
        stack.admin(Method::DELETE, &path, Value::Null).await.expect(200);
    }
    let named = json!({ "name": "second", "role": "viewer" });
    let made = stack
        .admin(Method::POST, "/admin/admin-keys", named)
        .await
        .expect(201)
        .json();
    let admin_key = made["admin_key"].as_str().or(made["api_key"].as_str());
    secrets.add("second admin key", admin_key.unwrap_or_else(|| panic!("{made}")));

    let gone = stack.api.customer(&account.key, "gone").await;
    secrets.add("deleted customer key", &gone.key);
    let path = format!("/customers/{}", gone.id);
    stack
        .portal(&account.key, Method::DELETE, &path, Value::Null)
        .await
        .expect(204);
    let first = kept_for_a_repeat(stack, &account.key).await;
    secrets.add("rotated-out customer key", &first.key);
    let path = format!("/customers/{}/rotate-key", first.id);
    let rotated = stack.portal(&account.key, Method::POST, &path, Value::Null).await;
    let key = text(&rotated.expect(200).json()["apiKey"]);
    secrets.add("customer key", &key);
    let shown = stack
        .portal(
            &account.key,
            Method::GET,
            &format!("/customers/{}", first.id),
            Value::Null,
        )
        .await;
    assert_eq!(text(&shown.expect(200).json()["apiKey"]), key);
    (account, Customer { id: first.id, key })
}

/// Makes what surfaces 3 and 4, the token endpoint and webhooks give out, and reports a key that leaked.
async fn of_people(stack: &Stack, account: &Account, secrets: &mut Secrets) {
    let of_account = format!("/admin/customers/{}", account.id);
    let ada = json!({ "name": "Ada", "email": "ada@acme.example", "claims": ["Issuer_Dev"] });
    let ada = stack
        .admin(Method::POST, &format!("{of_account}/users"), ada)
        .await;
    let ada = text(&ada.expect(201).json()["user_id"]);
    let made = stack
        .portal(&account.key, Method::POST, "/keys", json!({ "userId": ada }))
        .await;
    let companys = text(&made.expect(201).json()["key"]);
    secrets.add("company's key", &companys);
    let path = "/api/v1/psp/product-manager/customer-user-api-keys";
    let made = stack
        .portal(&companys, Method::POST, path, json!({ "name": "own" }))
        .await;
    let own = text(&made.expect(201).json()["rawKey"]);
    secrets.add("user's own key", &own);

    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", &account.id),
        ("client_secret", &companys),
    ];
    let form: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let token: Value = reqwest::Client::new()
        .post(format!("{}/oauth/token", stack.control_plane.api_url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.join("&"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = text(&token["access_token"]);
    // What proves it is its last part.
    secrets.add_random("token", token.rsplit('.').next().unwrap());
    let listed = stack.portal(&token, Method::GET, "/keys", Value::Null).await;
    listed.expect(200);

    let hook = json!({ "url": "http://127.0.0.1:9/hook" });
    let made = stack.admin(Method::POST, "/admin/webhooks", hook).await;
    secrets.add("webhook's secret", &text(&made.expect(201).json()["secret"]));

    let reports = json!([
        { "token": own, "type": "keyward", "url": format!("https://paste.example/?x={own}"), "source": "content" },
        { "token": token, "type": "keyward", "url": "https://paste.example/t", "source": "content" },
    ]);
    let reported = stack
        .admin(Method::POST, "/admin/leaks", reports)
        .await
        .expect(200);
    assert_eq!(reported.json()[0]["action"], "quarantined", "{}", reported.text);
}

/// Makes a customer by a call whose answer is kept, key and all, to be given again.
async fn kept_for_a_repeat(stack: &Stack, account_key: &str) -> Customer {
    let url = format!("{}/customers", stack.control_plane.api_url());
    let client = keyward_harness::http_client().unwrap();
    let make = async || {
        let request = client
            .post(&url)
            .bearer_auth(account_key)
            .header("idempotency-key", "once");
        request
            .json(&json!({ "name": "kept" }))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let (first, again) = (make().await, make().await);
    assert_eq!(first, again);
    let made: Value = serde_json::from_str(&first).unwrap();
    Customer {
        id: text(&made["id"]),
        key: text(&made["apiKey"]),
    }
}

/// Calls at the gateway and the surfaces that carry keys in every right and wrong place.
async fn called(stack: &Stack, secrets: &Secrets, account: &Account, customer: &Customer) {
    let (account, customer) = (account.key.as_str(), customer.key.as_str());
    let mut mistyped = account.to_owned();
    mistyped.push('x');
    let both = format!("Authorization: Bearer {account}\r\nX-Customer-Key: {customer}");
    for (target, headers, status) in [
        ("/hello".to_owned(), both.clone(), 200),
        (
            "/hello".into(),
            format!("x-api-key: {account}\r\nX-Customer-Key: {customer}"),
            200,
        ),
        (format!("/hello/{account}?key={customer}"), both.clone(), 200),
        (
            format!("/hello/{customer}?key={account}"),
            String::from("X-None: 1"),
            401,
        ),
        ("/hello".into(), format!("{both}\r\nX-Request-Id: {account}"), 200),
        (
            "/hello".into(),
            format!("Authorization: Bearer {customer}\r\nX-Customer-Key: {account}"),
            401,
        ),
        (
            "/hello".into(),
            format!("Authorization: Bearer {account}\r\nX-Customer-Key: {account}"),
            403,
        ),
        (
            "/hello".into(),
            format!("{both}\r\nAuthorization: Bearer {mistyped}"),
            400,
        ),
        ("/hello".into(), format!("Authorization: Basic {account}"), 401),
        ("/hello".into(), format!("Authorization: Bearer {mistyped}"), 401),
        ("/hello".into(), format!("{both}\r\nConnection: {account}"), 200),
    ] {
        let mut wire = Wire::open(stack.gateway()).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n{headers}\r\n\r\n");
        let heard = wire.send(&request).await;
        assert_eq!(heard.status, status, "{}", heard.body);
        if status != 200 {
            secrets.check("a gateway's refusal", heard.body.as_bytes());
        }
    }
    for (by, method, path, body) in [
        (
            By::Account(customer),
            Method::GET,
            "/customers".to_owned(),
            Value::Null,
        ),
        (
            By::Account(&stack.admin),
            Method::GET,
            "/customers".into(),
            Value::Null,
        ),
        (
            By::Admin(account),
            Method::GET,
            "/admin/customers".into(),
            Value::Null,
        ),
        (
            By::Account(&mistyped),
            Method::GET,
            "/customers".into(),
            Value::Null,
        ),
        (
            By::Account(account),
            Method::GET,
            format!("/customers/{customer}"),
            Value::Null,
        ),
        (
            By::Account(account),
            Method::GET,
            format!("/customers?limit={customer}"),
            Value::Null,
        ),
        (
            By::Account(account),
            Method::POST,
            format!("/{account}"),
            Value::Null,
        ),
        (
            By::Account(account),
            Method::POST,
            "/customers".into(),
            json!({ "name": [customer] }),
        ),
        (
            By::Admin(&stack.admin),
            Method::GET,
            format!("/admin/customers/{account}"),
            Value::Null,
        ),
        (
            By::Admin(&stack.admin),
            Method::GET,
            format!("/admin/customers?cursor={account}"),
            Value::Null,
        ),
    ] {
        let answer = stack.api.call(by, method, &path, body).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.text);
        secrets.check("a surface's refusal", answer.text.as_bytes());
    }
}

/// Waits until the access log has its last line.
async fn logged(file: &Path) {
    let logged = eventually(SOON, || async {
        let lines = std::fs::read_to_string(file)?.lines().count();
        anyhow::ensure!(lines >= 11, "{lines} lines");
        Ok(())
    });
    logged.await.unwrap();
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
