//! Accounts, as operators manage them. Suspending, changing the tier and deleting are one account record each: its
//! keys keep their own state, however many there are.

use keyward_contract::{
    AccountId, AccountStatus, Contract, Environment, EnvironmentId, PlainKey, Record, UnixMillis,
};
use serde_json::{Value, json};

use super::account_keys::{self, NewKey};
use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result, end_customers};
use crate::domain::account::{
    Account, EnvironmentSettings, Environments, Metadata, check_contract, status_as_str,
};
use crate::domain::customer::{EndCustomer, SANDBOX_ID, SANDBOX_NAME};
use crate::domain::grant;
use crate::domain::key::ApiKey;
use crate::domain::moment;
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::domain::tier::Overrides;
use crate::store::accounts::{self, Filter};
use crate::store::{StoreError, Tx, customers, grants, keys, policies};

/// What an operator says of a new account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Its name.
    pub company_name: Name,
    /// Whom to write to.
    pub contact_email: String,
    /// The key of its tier.
    pub tier: String,
    /// When its contract holds.
    pub contract: Contract,
    /// The operator's notes.
    pub metadata: Metadata,
    /// What it negotiated.
    pub overrides: Option<Overrides>,
}

/// What an operator changes of an account; what is absent stays. An inner `None` clears.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Its name.
    pub company_name: Option<Name>,
    /// Whom to write to.
    pub contact_email: Option<String>,
    /// The key of its tier.
    pub tier: Option<String>,
    /// Active or suspended.
    pub status: Option<AccountStatus>,
    /// The first instant of its contract.
    pub contract_start: Option<Option<UnixMillis>>,
    /// The first instant after its contract.
    pub contract_end: Option<Option<UnixMillis>>,
    /// The operator's notes, replaced whole.
    pub metadata: Option<Metadata>,
    /// What it negotiated, replaced whole.
    pub overrides: Option<Option<Overrides>>,
}

/// An account with what else is shown of it.
#[derive(Debug)]
pub struct Found {
    /// The account.
    pub account: Account,
    /// What its tier costs a year; `None` when the tier is in the catalogue no more.
    pub annual_price: Option<u64>,
    /// The id of its oldest living production key.
    pub api_key_id: Option<String>,
}

/// A new account with its first key.
#[derive(Debug)]
pub struct Created {
    /// The account.
    pub found: Found,
    /// Its first key.
    pub key: ApiKey,
    /// The key's text.
    pub plain: PlainKey,
}

/// Makes an account with both environments, a production key, and the sandbox customer in test.
///
/// # Errors
/// When the tier is none, the contract ends before it starts, or the database fails.
pub async fn create(registry: &Registry, actor: &Actor, wanted: NewAccount) -> Result<Changed<Created>> {
    let mut change = Change::begin(registry, actor).await?;
    let (created, records) = create_within(registry, &mut change, wanted).await?;
    let account = &created.found.account;
    let entry = entry("account.created", account, None, Some(remembered(account)));
    let settled = change.commit(entry, &records).await?;
    Ok(Changed {
        value: created,
        settled,
    })
}

/// Makes an account inside a change, with the records that gateways must be told.
pub(super) async fn create_within(
    registry: &Registry,
    change: &mut Change<'_>,
    wanted: NewAccount,
) -> Result<(Created, Vec<Record>)> {
    let terms = registry
        .catalogue
        .terms(&wanted.tier, wanted.overrides.as_ref())?;
    let contract = check_contract(wanted.contract)?;
    let account = Account {
        id: AccountId::new(),
        company_name: wanted.company_name,
        contact_email: wanted.contact_email,
        tier: wanted.tier,
        status: AccountStatus::Active,
        contract,
        overrides: wanted.overrides,
        metadata: wanted.metadata,
        limits: terms.limits,
        annual_limit: terms.annual_limit,
        environments: Environments {
            test: EnvironmentSettings::random()?,
            production: EnvironmentSettings::random()?,
        },
        created_at: change.now,
        updated_at: change.now,
    };
    accounts::insert(&mut change.tx, &account).await?;
    let first = NewKey {
        name: None,
        environment: Environment::Production,
        expires_at: None,
        allowed_ips: None,
    };
    let (key, plain) = account_keys::issue(registry, change, &account, first).await?;
    let by = change.actor_id().to_owned();
    let at = (&mut change.tx, change.now);
    let sandbox_key = seed_sandbox(registry, at, account.id, &by).await?;
    let records = vec![
        record(change, &account).await?,
        Record::Key(key.record(None)),
        Record::Key(sandbox_key.record(None)),
    ];
    let found = Found {
        annual_price: Some(terms.annual_price),
        api_key_id: Some(key.id.to_string()),
        account,
    };
    Ok((Created { found, key, plain }, records))
}

/// Gives a new account its sandbox customer, with a key.
pub(super) async fn seed_sandbox(
    registry: &Registry,
    (tx, now): (&mut Tx, UnixMillis),
    account: AccountId,
    by: &str,
) -> Result<ApiKey> {
    let sandbox = EndCustomer {
        account,
        environment: Environment::Test,
        id: SANDBOX_ID.parse().map_err(StoreError::corrupt)?,
        name: Name::from_stored(SANDBOX_NAME.to_owned()),
        limits: None,
        created_at: now,
        updated_at: now,
    };
    customers::insert(tx, &sandbox).await?;
    let (key, _) = end_customers::issue(registry, (tx, now), &sandbox, by).await?;
    Ok(key)
}

/// The newest accounts that the filter lets through.
///
/// # Errors
/// When the database fails.
pub async fn list(registry: &Registry, filter: Filter, limit: i64) -> Result<Vec<Found>> {
    let now = registry.clock.now();
    let listed = accounts::list(registry.store.readers(), filter, now, limit).await?;
    Ok(listed
        .into_iter()
        .map(|(account, api_key_id)| found(registry, account, api_key_id))
        .collect())
}

/// Finds an account.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn find(registry: &Registry, id: AccountId) -> Result<Found> {
    let account = accounts::by_id(registry.store.readers(), id)
        .await?
        .ok_or(Missing::Account)?;
    shown(registry, account).await
}

/// Changes what is given of an account, and nothing else.
///
/// # Errors
/// When there is none with this id, it is cancelled, the result breaks a rule, or the database fails.
pub async fn update(registry: &Registry, actor: &Actor, id: AccountId, edit: Edit) -> Result<Changed<Found>> {
    let mut change = Change::begin(registry, actor).await?;
    let before = living(&mut change, id).await?;
    let mut account = edited(registry, before.clone(), edit)?;
    if account != before {
        account.updated_at = change.now;
    }
    // Read now: after the commit nothing may fail any more.
    let value = shown(registry, account.clone()).await?;
    let settled = if account == before {
        change.nothing_to_do().await?
    } else {
        accounts::save(&mut change.tx, &account).await?;
        let entry = entry(
            action_of(before.status, account.status),
            &account,
            Some(remembered(&before)),
            Some(remembered(&account)),
        );
        let record = record(&mut change, &account).await?;
        change.commit(entry, &[record]).await?
    };
    Ok(Changed { value, settled })
}

/// Cancels an account for good; a repeat changes nothing. Its keys die with it without being touched.
///
/// # Errors
/// When there is none with this id or the database fails: then everything is as it was.
pub async fn cancel(registry: &Registry, actor: &Actor, id: AccountId) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, actor).await?;
    let mut account = accounts::load(&mut change.tx, id)
        .await?
        .ok_or(Missing::Account)?;
    if account.status == AccountStatus::Cancelled {
        let settled = change.nothing_to_do().await?;
        return Ok(Changed { value: (), settled });
    }
    let before = remembered(&account);
    account.status = AccountStatus::Cancelled;
    account.updated_at = change.now;
    accounts::save(&mut change.tx, &account).await?;
    let entry = entry(
        "account.cancelled",
        &account,
        Some(before),
        Some(remembered(&account)),
    );
    let record = record(&mut change, &account).await?;
    let settled = change.commit(entry, &[record]).await?;
    Ok(Changed { value: (), settled })
}

/// Sets how many keys an environment may have over all its users.
///
/// # Errors
/// When there is no such account or environment, the account is cancelled, or the database fails.
pub async fn set_user_key_limit(
    registry: &Registry,
    actor: &Actor,
    target: (AccountId, EnvironmentId),
    limit: u32,
) -> Result<Changed<(Environment, EnvironmentSettings)>> {
    let mut change = Change::begin(registry, actor).await?;
    let account = living(&mut change, target.0).await?;
    let (kind, before) = account
        .environments
        .both()
        .into_iter()
        .find(|(_, settings)| settings.id == target.1)
        .ok_or(Missing::Environment)?;
    let after = EnvironmentSettings {
        user_key_limit: limit,
        ..before
    };
    let settled = if after == before {
        change.nothing_to_do().await?
    } else {
        accounts::save_environment(&mut change.tx, after).await?;
        let entry = Entry {
            action: "environment.updated",
            target: ("environment", after.id.to_string()),
            account: Some(account.id),
            before: Some(json!({"user_key_limit": before.user_key_limit})),
            after: Some(json!({"user_key_limit": after.user_key_limit})),
        };
        change.commit(entry, &[]).await?
    };
    let value = (kind, after);
    Ok(Changed { value, settled })
}

fn edited(registry: &Registry, mut account: Account, edit: Edit) -> Result<Account> {
    account.company_name = edit.company_name.unwrap_or(account.company_name);
    account.contact_email = edit.contact_email.unwrap_or(account.contact_email);
    account.status = edit.status.unwrap_or(account.status);
    account.metadata = edit.metadata.unwrap_or(account.metadata);
    account.contract = check_contract(Contract {
        start: edit.contract_start.unwrap_or(account.contract.start),
        end: edit.contract_end.unwrap_or(account.contract.end),
    })?;
    if edit.tier.is_none() && edit.overrides.is_none() {
        return Ok(account);
    }
    account.tier = edit.tier.unwrap_or(account.tier);
    let negotiable = registry
        .catalogue
        .tier(&account.tier)
        .is_some_and(|tier| tier.negotiable);
    account.overrides = match edit.overrides {
        Some(given) => given,
        // What was negotiated goes when the account leaves its tier.
        None => account.overrides.filter(|_| negotiable),
    };
    let terms = registry
        .catalogue
        .terms(&account.tier, account.overrides.as_ref())?;
    account.apply(terms);
    Ok(account)
}

/// The account with this id, unless it is gone for good.
pub(super) async fn living(change: &mut Change<'_>, id: AccountId) -> Result<Account> {
    let account = accounts::load(&mut change.tx, id)
        .await?
        .ok_or(Missing::Account)?;
    if account.status == AccountStatus::Cancelled {
        return Err(Conflict::AccountCancelled.into());
    }
    Ok(account)
}

/// What gateways are told of an account as it becomes by this change: with all that was granted for the contract year
/// that it is in now.
pub(super) async fn record(change: &mut Change<'_>, account: &Account) -> Result<Record> {
    let published = policies::of(&mut *change.tx, &account.tier).await?;
    let granted = grants::since(&mut change.tx, account.id, grant::earliest_told(change.now)).await?;
    let granted = grant::told(granted, change.now, account.contract.start);
    Ok(Record::Account(account.record(published.policy, granted)))
}

async fn shown(registry: &Registry, account: Account) -> Result<Found> {
    let now = registry.clock.now();
    let api_key_id = keys::oldest_production_key(registry.store.readers(), account.id, now).await?;
    Ok(found(registry, account, api_key_id))
}

fn found(registry: &Registry, account: Account, api_key_id: Option<String>) -> Found {
    let terms: std::result::Result<_, InvalidField> = registry
        .catalogue
        .terms(&account.tier, account.overrides.as_ref());
    Found {
        annual_price: terms.ok().map(|terms| terms.annual_price),
        // A cancelled account's keys count as revoked, whatever their own state.
        api_key_id: api_key_id.filter(|_| account.status != AccountStatus::Cancelled),
        account,
    }
}

fn action_of(before: AccountStatus, after: AccountStatus) -> &'static str {
    match (before, after) {
        (AccountStatus::Active, AccountStatus::Suspended) => "account.suspended",
        (AccountStatus::Suspended, AccountStatus::Active) => "account.resumed",
        _ => "account.updated",
    }
}

fn remembered(account: &Account) -> Value {
    json!({
        "company_name": account.company_name,
        "contact_email": account.contact_email,
        "tier": account.tier,
        "status": status_as_str(account.status),
        "contract_start": account.contract.start.map(|at| at.date().to_string()),
        "contract_end": account.contract.end.map(|at| moment::last_day(at).to_string()),
        "metadata": account.metadata.as_map(),
        "overrides": account.overrides,
    })
}

fn entry(action: &'static str, account: &Account, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        action,
        target: ("account", account.id.to_string()),
        account: Some(account.id),
        before,
        after,
    }
}
