//! What a fresh database starts with, so that the first call needs no reading: an operator, a demo account with a
//! key in each environment, and an end customer in each.

use keyward_contract::{Contract, Environment, PlainKey};

use super::account_keys::{self, NewKey};
use super::accounts::{self, NewAccount};
use super::identify::{self, Call, PortalCaller};
use super::{Actor, Registry, Result, admin_keys, end_customers};
use crate::domain::account::Metadata;
use crate::domain::admin::Role;
use crate::domain::refusal::Missing;
use crate::domain::text::{MAX_NAME, Name};
use crate::store;

/// The name of the demo account.
pub const DEMO_COMPANY: &str = "Demo Company";
/// The name of its end customer in each environment.
pub const DEMO_CUSTOMER: &str = "Demo Customer";
const DEMO_TIER: &str = "growth";

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
/// When the database fails.
pub async fn run(registry: &Registry) -> Result<Option<Credentials>> {
    if store::accounts::any(registry.store.readers()).await? || !admin_keys::list(registry).await?.is_empty()
    {
        return Ok(None);
    }
    let actor = Actor::system("bootstrap");
    let created = accounts::create(registry, &actor, demo_account()?).await?.value;
    let account = created.found.account;
    let test_key = NewKey {
        name: None,
        environment: Environment::Test,
        expires_at: None,
        allowed_ips: None,
    };
    let (_, test_plain) = account_keys::create(registry, &actor, account.id, test_key)
        .await?
        .value;
    let production = with_customer(registry, created.plain).await?;
    let test = with_customer(registry, test_plain).await?;
    // Last: as long as there is no admin key, a start that was cut short is begun again by hand, not half-used.
    let name = Name::parse("name", "standalone", MAX_NAME)?;
    let (_, admin_key) = admin_keys::create(registry, &actor, name, Role::Owner)
        .await?
        .value;
    Ok(Some(Credentials {
        admin_key,
        account_id: account.id.to_string(),
        production,
        test,
    }))
}

fn demo_account() -> Result<NewAccount> {
    Ok(NewAccount {
        company_name: Name::parse("company_name", DEMO_COMPANY, MAX_NAME)?,
        contact_email: "demo@example.com".to_owned(),
        tier: DEMO_TIER.to_owned(),
        contract: Contract::default(),
        metadata: Metadata::default(),
        overrides: None,
    })
}

async fn with_customer(registry: &Registry, account_key: PlainKey) -> Result<EnvironmentCredentials> {
    let caller = caller(registry, &account_key).await?;
    let name = Name::parse("name", DEMO_CUSTOMER, MAX_NAME)?;
    let made = end_customers::create(registry, &caller, name).await?.value;
    Ok(EnvironmentCredentials {
        account_key,
        customer_id: made.customer.id.to_string(),
        customer_key: made.key.ok_or(Missing::Key)?,
    })
}

async fn caller(registry: &Registry, key: &PlainKey) -> Result<PortalCaller> {
    let call = Call {
        request_id: "bootstrap".to_owned(),
        address: None,
    };
    let found = identify::account_key(registry, key.expose().as_bytes(), &call).await?;
    found.map_err(|_| Missing::Key.into())
}
