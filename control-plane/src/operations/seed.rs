//! Many accounts and end customers at once, for load tests: some ten thousand keys a second.

use keyward_contract::{
    AccountId, AccountStatus, Contract, CustomerId, Environment, KeyKind, PlainKey, Record,
};
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Registry, Result};
use crate::domain::account::{Account, EnvironmentSettings, Environments, Metadata};
use crate::domain::customer::EndCustomer;
use crate::domain::key::{Draft, Origin};
use crate::domain::text::Name;
use crate::store::{accounts, customers, keys, policies};

/// Records a revision at most: a gateway takes each in one frame.
const RECORDS_A_REVISION: usize = 1_000;

/// How much is made, and on which tier.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many accounts.
    pub accounts: usize,
    /// How many end customers each of them gets, in production.
    pub customers_per_account: usize,
    /// The key of their tier.
    pub tier: String,
}

/// An account that was made, with every key in clear.
#[derive(Debug)]
pub struct Seeded {
    /// Its id.
    pub account_id: AccountId,
    /// Its production key.
    pub account_key: PlainKey,
    /// The keys of its end customers.
    pub customer_keys: Vec<PlainKey>,
}

/// Makes what the plan says, in transactions of up to a thousand records.
///
/// # Errors
/// When the tier is none or the database fails; what was committed before stays.
pub async fn run(registry: &Registry, plan: &Plan) -> Result<Vec<Seeded>> {
    let mut seeded = Vec::with_capacity(plan.accounts);
    let mut batch = Batch::begin(registry).await?;
    for index in 0..plan.accounts {
        batch = batch.with_room(2).await?;
        let (account_id, account_key) = batch.account(&plan.tier, index).await?;
        let mut made = Seeded {
            account_id,
            account_key,
            customer_keys: Vec::with_capacity(plan.customers_per_account),
        };
        for number in 0..plan.customers_per_account {
            batch = batch.with_room(1).await?;
            made.customer_keys.push(batch.customer(account_id, number).await?);
        }
        seeded.push(made);
    }
    batch.finish().await?;
    Ok(seeded)
}

struct Batch<'a> {
    registry: &'a Registry,
    change: Change<'a>,
    records: Vec<Record>,
    customers: Vec<EndCustomer>,
    next_number: i64,
}

/// Who seeds, in the audit trail.
static ACTOR: std::sync::LazyLock<Actor> = std::sync::LazyLock::new(|| Actor::system("seed"));

impl<'a> Batch<'a> {
    async fn begin(registry: &'a Registry) -> Result<Self> {
        let mut change = Change::begin(registry, &ACTOR).await?;
        let next_number = keys::next_number(&mut change.tx).await?;
        Ok(Self {
            registry,
            change,
            records: Vec::with_capacity(RECORDS_A_REVISION),
            customers: Vec::with_capacity(RECORDS_A_REVISION),
            next_number,
        })
    }

    /// Begins the next batch when this one can't take so many records more.
    async fn with_room(self, records: usize) -> Result<Self> {
        if self.records.len() + records <= RECORDS_A_REVISION {
            return Ok(self);
        }
        let registry = self.registry;
        self.finish().await?;
        Self::begin(registry).await
    }

    async fn finish(mut self) -> Result<()> {
        customers::insert_all(&mut self.change.tx, &self.customers).await?;
        let entry = Entry {
            action: "seed.made",
            target: ("store", "seed".to_owned()),
            account: None,
            before: None,
            after: Some(json!({"records": self.records.len()})),
        };
        self.change.commit(entry, &self.records).await?;
        Ok(())
    }

    async fn account(&mut self, tier: &str, index: usize) -> Result<(AccountId, PlainKey)> {
        let terms = self.registry.catalogue.terms(tier, None)?;
        let now = self.change.now;
        let account = Account {
            id: AccountId::new(),
            company_name: Name::from_stored(format!("Seeded Company {index}")),
            contact_email: format!("seeded-{index}@example.com"),
            tier: tier.to_owned(),
            status: AccountStatus::Active,
            contract: Contract::default(),
            overrides: None,
            metadata: Metadata::default(),
            limits: terms.limits,
            annual_limit: terms.annual_limit,
            environments: Environments {
                test: EnvironmentSettings::random()?,
                production: EnvironmentSettings::random()?,
            },
            created_at: now,
            updated_at: now,
        };
        accounts::insert(&mut self.change.tx, &account).await?;
        let policy = policies::of(&mut *self.change.tx, tier).await?.policy;
        self.records
            .push(Record::Account(account.record(policy, Vec::new())));
        let key = self.key(account.id, None).await?;
        Ok((account.id, key))
    }

    async fn customer(&mut self, account: AccountId, number: usize) -> Result<PlainKey> {
        let now = self.change.now;
        let customer = EndCustomer {
            account,
            environment: Environment::Production,
            id: CustomerId::mint(now)?,
            name: Name::from_stored(format!("Seeded Customer {number}")),
            limits: None,
            created_at: now,
            updated_at: now,
        };
        let id = customer.id;
        self.customers.push(customer);
        self.key(account, Some(id)).await
    }

    async fn key(&mut self, account: AccountId, customer: Option<CustomerId>) -> Result<PlainKey> {
        let (kind, origin) = match customer {
            None => (KeyKind::Account, Origin::Admin),
            Some(_) => (KeyKind::Customer, Origin::Portal),
        };
        let minted = self.registry.mint(kind, Environment::Production)?;
        let draft = Draft {
            plain: &minted.plain,
            digest: minted.digest,
            account,
            environment: Environment::Production,
            customer,
            origin,
            api_version: self.registry.newest_api_version(),
            created_by: &ACTOR.id,
        };
        let mut key = draft.issue(self.change.now);
        if customer.is_some() {
            self.registry.seal_into(&mut key, &minted.plain)?;
        }
        key.number = self.next_number;
        self.next_number += 1;
        keys::insert_numbered(&mut self.change.tx, &key).await?;
        self.records.push(Record::Key(key.record(None)));
        Ok(minted.plain)
    }
}
