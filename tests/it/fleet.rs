//! Gateways that share limits, the load on them, and what is read back of it. Each such test has the machine for
//! itself: it judges rates.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keyward_contract::{AccountId, Environment, KeyId, KeyKind, PlainKey};
use keyward_harness::{Program, binary, eventually};
use keyward_loadtest::paced::{Answer, Call, Heard};
use keyward_loadtest::{Credentials, Lane, Law, Order, Pace, Paced, Requests, Tally};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::api::{Account, text};
use crate::stack::{Plan, SOON, Stack, page};
use crate::wire::{self, Wire};

pub(crate) const GATEWAYS: usize = 4;
/// The tier of the accounts whose rate is judged.
pub(crate) const GROWTH: Law = Law {
    rate: 100,
    burst: 200,
};

/// `/a` needs an account key, every other path a customer's too.
const ROUTES: &str = "[[routes]]\npath = \"/a\"\nupstream = \"api\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\n";
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Waits until no other test that judges rates runs in this program.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Gateways before an upstream that counts.
pub(crate) struct Fleet {
    pub(crate) stack: Stack,
    pub(crate) tally: Tally,
}

impl Fleet {
    /// With this `[limiter]` of the gateways.
    pub(crate) async fn start(limiter: &str) -> Self {
        let plan = Plan {
            gateways: GATEWAYS,
            ..Plan::default()
        };
        Self::with(limiter, plan).await
    }

    /// With this `[limiter]` of the gateways, and else as planned.
    pub(crate) async fn with(limiter: &str, plan: Plan<'_>) -> Self {
        let tally = Tally::start().unwrap();
        let tables = format!("[limiter]\n{limiter}\n{}", plan.gateway_tables);
        let plan = Plan {
            routes: ROUTES,
            gateway_tables: &tables,
            upstream: Some(tally.address()),
            log: "warn",
            ..plan
        };
        let stack = Stack::with(plan).await;
        Self { stack, tally }
    }

    /// An account of this tier.
    pub(crate) async fn account(&self, tier: &str, overrides: Value) -> Account {
        let mut fields = json!({"company_name": "Acme", "contact_email": "api@acme.example", "tier": tier});
        if !overrides.is_null() {
            fields["overrides"] = overrides;
        }
        let made = self
            .stack
            .admin(Method::POST, "/admin/customers", fields)
            .await
            .expect(201)
            .in_force_at(self.stack.gateways.len())
            .json();
        Account {
            id: text(&made["customer"]["customer_id"]),
            key_id: text(&made["customer"]["api_key_id"]),
            key: text(&made["api_key"]),
        }
    }

    /// So many accounts of this tier, each with a key.
    pub(crate) async fn accounts(&self, count: usize, tier: &str) -> Vec<Account> {
        let accounts: Vec<_> = (0..count)
            .map(|_| Account {
                id: AccountId::new().to_string(),
                key_id: KeyId::new().to_string(),
                key: minted(KeyKind::Account),
            })
            .collect();
        let lines = accounts.iter().flat_map(|account| {
            let made = json!({
                "kind": "customer", "id": account.id, "company_name": "Acme",
                "contact_email": "api@acme.example", "tier": tier, "sandbox": false,
            });
            let key = json!({
                "kind": "api_key", "id": account.key_id, "customer": account.id, "key": account.key,
            });
            [made, key]
        });
        self.import(lines).await;
        accounts
    }

    /// The same account with another key.
    pub(crate) async fn another_key(&self, account: &Account) -> Account {
        let other = Account {
            id: account.id.clone(),
            key_id: KeyId::new().to_string(),
            key: minted(KeyKind::Account),
        };
        let made = json!({
            "kind": "api_key", "id": other.key_id, "customer": other.id, "key": other.key,
        });
        self.import([made]).await;
        other
    }

    /// An end customer of this account with limits of its own. Its key.
    pub(crate) async fn end_customer(&self, account: &Account, limits: Law) -> String {
        let key = minted(KeyKind::Customer);
        let made = json!({
            "kind": "end_customer", "ref": key[8..16], "customer": account.id, "environment": "production",
            "name": key[8..16], "rate_limit": limits.rate, "burst_limit": limits.burst,
        });
        let of_it = json!({
            "kind": "api_key", "customer": account.id, "end_customer": key[8..16], "key": key,
        });
        self.import([made, of_it]).await;
        key
    }

    /// Imports these records into the running control plane, and waits until the gateways have them.
    pub(crate) async fn import(&self, lines: impl IntoIterator<Item = Value>) {
        let lines: Vec<_> = lines.into_iter().map(|line| line.to_string()).collect();
        let folder = self.stack.control_plane.folder();
        let file = folder.join("records.jsonl");
        std::fs::write(&file, lines.join("\n")).unwrap();
        let program = Program::new(binary("keyward-control-plane").unwrap(), folder)
            .arg("import")
            .arg(&file)
            .arg("--config")
            .arg(folder.join("control-plane.toml"));
        let report = program.run().unwrap();
        assert_eq!(report.matches("\"created\"").count(), lines.len(), "{report}");
        self.stack.all_gateways_connected().await;
    }

    /// A load with a pace for each gateway.
    pub(crate) fn load(&self, paces: Vec<Pace>, callers: Requests, duration: Duration) -> Paced {
        let lanes = self.stack.gateways.iter().zip(paces).map(|(gateway, pace)| Lane {
            target: gateway.address(),
            pace,
            connections: CONNECTIONS,
        });
        Paced {
            lanes: lanes.collect(),
            callers: Arc::new(callers),
            duration,
        }
    }

    /// A load with the same steady pace at every gateway.
    pub(crate) fn steady(&self, each: u32, callers: Requests, duration: Duration) -> Paced {
        let paces = self.stack.gateways.iter().map(|_| Pace::steady(each));
        self.load(paces.collect(), callers, duration)
    }

    /// One call of an account at each gateway.
    pub(crate) async fn ask_everywhere(&self, account: &Account, target: &str) -> Vec<wire::Heard> {
        let mut heard = Vec::new();
        for gateway in &self.stack.gateways {
            let mut wire = Wire::open(gateway.address()).await;
            heard.push(wire.get_as_account(target, &account.key).await);
        }
        heard
    }

    /// Accepted production calls of an account by the key's id, as they are exported.
    pub(crate) async fn exported(&self, account: &str) -> BTreeMap<String, u64> {
        let path = format!("/admin/usage/{account}/export?format=ndjson&granularity=hour");
        let rows = self
            .stack
            .admin(Method::GET, &path, Value::Null)
            .await
            .expect(200);
        let mut counts = BTreeMap::new();
        for row in rows.text.lines() {
            let row: Value = serde_json::from_str(row).unwrap();
            let count = row["accepted"].as_u64().unwrap();
            *counts.entry(text(&row["account_key_id"])).or_default() += count;
        }
        counts
    }

    /// `/readyz` of every gateway.
    pub(crate) async fn readiness(&self) -> Vec<Value> {
        let mut told = Vec::new();
        for gateway in &self.stack.gateways {
            let text = page(&format!("{}/readyz", gateway.admin_url())).await;
            told.push(serde_json::from_str(&text).unwrap());
        }
        told
    }

    /// Waits until this holds for `/readyz` of every gateway.
    pub(crate) async fn all_say(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let said = eventually(SOON, || async {
            for told in self.readiness().await {
                anyhow::ensure!(holds(&told), "{what}: {told}");
            }
            Ok(())
        });
        said.await.unwrap();
    }
}

fn minted(kind: KeyKind) -> String {
    let key = PlainKey::mint(kind, Environment::Production).unwrap();
    key.expose().to_owned()
}

/// Calls of accounts, in turn.
pub(crate) fn calls_of<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> Requests {
    let credentials = accounts.into_iter().map(|account| Credentials {
        account_key: Some(account.key.clone()),
        customer_key: None,
    });
    Requests::render("/a", Order::Random, credentials)
}

/// Calls of end customers of one account, in turn.
pub(crate) fn calls_of_customers(account: &Account, customers: &[&str]) -> Requests {
    let credentials = customers.iter().map(|customer| Credentials {
        account_key: Some(account.key.clone()),
        customer_key: Some((*customer).to_owned()),
    });
    Requests::render("/", Order::Random, credentials)
}

/// When the accepted calls that `of` chooses were sent and answered.
pub(crate) fn accepted<'a>(
    heard: &'a Heard,
    of: impl Fn(usize) -> bool + 'a,
) -> impl Iterator<Item = (Duration, Duration)> + 'a {
    let accepted = heard.calls.iter().filter(|call| call.accepted());
    accepted
        .filter(move |call| of(call.caller))
        .map(|call| (call.sent, call.ended))
}

/// Every call was accepted, or told that a rate was used up.
#[track_caller]
pub(crate) fn accepted_or_limited(heard: &Heard) {
    let is_right = |call: &&Call| matches!(call.answer, Answer::Accepted | Answer::Limited(_));
    let wrong: Vec<_> = heard.calls.iter().filter(|call| !is_right(call)).collect();
    let first = wrong.get(..wrong.len().min(10)).unwrap_or_default();
    assert!(wrong.is_empty(), "{:?}: {first:?}", heard.answers());
}
