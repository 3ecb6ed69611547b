//! What a fresh database starts with, so that the first call needs no reading: an operator, a demo account with a
//! key in each environment, and an end customer in each. One change: a start that is cut short is begun again.

use keyward_contract::{AccountId, Contract, Environment, PlainKey, Record};
use serde_json::json;

use super::account_keys::{self, NewKey};
use super::accounts::{self, NewAccount};
use super::change::{Change, Entry};
use super::{Actor, Registry, Result, admin_keys, end_customers};
use crate::domain::account::Metadata;
use crate::domain::admin::Role;
use crate::domain::text::Name;
use crate::store;

/// The name of the demo account.
pub const DEMO_COMPANY: &str = "Demo Company";
/// The name of its end customer in each environment.
pub const DEMO_CUSTOMER: &str = "Demo Customer";
const DEMO_TIER: &str = "growth";
const DEMO_EMAIL: &str = "demo@example.com";

/// What was made, in clear. Shown once.
#[derive(Debug)]
pub struct Credentials {
    /// The operator's key, an owner.
    pub admin_key: PlainKey,
    /// The demo account's id.
    pub account_id: String,
    /// Its keys in production.
    pub production: EnvironmentCredentials,
    /// Its keys in test.
    pub test: EnvironmentCredentials,
}

/// The keys of one environment.
#[derive(Debug)]
pub struct EnvironmentCredentials {
    /// The account's key.
    pub account_key: PlainKey,
    /// The end customer's id.
    pub customer_id: String,
    /// The end customer's key.
    pub customer_key: PlainKey,
}

/// Fills an empty database; `None` when it has an account or an admin key already.
///
/// # Errors
/// When the database fails: then it is as empty as before.
pub async fn run(registry: &Registry) -> Result<Option<Credentials>> {
    let actor = Actor::system("bootstrap");
    let mut change = Change::begin(registry, &actor).await?;
    if store::accounts::any(&mut change.tx).await? || store::admin_keys::any(&mut change.tx).await? {
        return Ok(None);
    }
    let (created, mut records) = accounts::create_within(registry, &mut change, demo_account()).await?;
    let account = created.found.account;
    let test_key = NewKey {
        name: None,
        environment: Environment::Test,
        expires_at: None,
        allowed_ips: None,
    };
    let (key, test_plain) = account_keys::issue(registry, &mut change, &account, test_key).await?;
    records.push(Record::Key(key.record(None)));
    let mut demo = Demo {
        registry,
        account: account.id,
        records,
    };
    let production = demo
        .customer(&mut change, Environment::Production, created.plain)
        .await?;
    let test = demo.customer(&mut change, Environment::Test, test_plain).await?;
    let name = Name::from_stored("bootstrap".to_owned());
    let (_, admin_key) = admin_keys::create_within(registry, &mut change, name, Role::Owner).await?;
    let entry = Entry {
        action: "store.bootstrapped",
        target: ("account", account.id.to_string()),
        account: Some(account.id),
        before: None,
        after: Some(json!({"company_name": DEMO_COMPANY, "tier": DEMO_TIER})),
    };
    change.commit(entry, &demo.records).await?;
    Ok(Some(Credentials {
        admin_key,
        account_id: account.id.to_string(),
        production,
        test,
    }))
}

fn demo_account() -> NewAccount {
    NewAccount {
        company_name: Name::from_stored(DEMO_COMPANY.to_owned()),
        contact_email: DEMO_EMAIL.to_owned(),
        tier: DEMO_TIER.to_owned(),
        contract: Contract::default(),
        metadata: Metadata::default(),
        overrides: None,
    }
}

struct Demo<'a> {
    registry: &'a Registry,
    account: AccountId,
    records: Vec<Record>,
}

impl Demo<'_> {
    async fn customer(
        &mut self,
        change: &mut Change<'_>,
        environment: Environment,
        account_key: PlainKey,
    ) -> Result<EnvironmentCredentials> {
        let name = Name::from_stored(DEMO_CUSTOMER.to_owned());
        let place = (self.account, environment);
        let (customer, key, plain) = end_customers::create_within(self.registry, change, place, name).await?;
        self.records.push(Record::Key(key.record(None)));
        Ok(EnvironmentCredentials {
            account_key,
            customer_id: customer.id.to_string(),
            customer_key: plain,
        })
    }
}
