//! End customers and their keys, as their account manages them.

use std::collections::HashMap;

use keyward_contract::{
    AccountId, CustomerId, Environment, KeyKind, KeyState, PlainKey, QuotaPeriod, Record, UnixMillis,
};
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::identify::PortalCaller;
use super::live_buckets::{self, CustomersBucket};
use super::{Changed, Registry, Result, grants};
use crate::domain::customer::EndCustomer;
use crate::domain::key::{ApiKey, Draft, Made, Origin};
use crate::domain::left::Left;
use crate::domain::refusal::{Conflict, Missing};
use crate::domain::text::Name;
use crate::store::customers::Page;
use crate::store::usage::{AccountUsage, CustomerUsage};
use crate::store::{StoreError, Tx, customers, keys, usage};

/// An end customer with what is known of its key.
#[derive(Debug)]
pub struct Found {
    /// The customer.
    pub customer: EndCustomer,
    /// Its key, when there is one that can be shown.
    pub key: Option<PlainKey>,
    /// When any of its keys was last used.
    pub last_used_at: Option<UnixMillis>,
}

/// A piece of the list of end customers.
#[derive(Debug)]
pub struct Listed {
    /// The customers, newest first, each with its last use.
    pub customers: Vec<(EndCustomer, Option<UnixMillis>)>,
    /// How many there are in all.
    pub total: i64,
}

/// What an end customer used, and what its account has left.
#[derive(Debug)]
pub struct Used {
    /// The customer.
    pub customer: EndCustomer,
    /// What it used.
    pub usage: CustomerUsage,
    /// What is left in its bucket.
    pub bucket: Left,
    /// The account's quota, in production.
    pub quota: Option<Quota>,
    /// When this was read.
    pub now: UnixMillis,
}

/// An account's yearly quota.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Validations in the contract year: the annual limit, and what was granted.
    pub limit: u64,
    /// How many were used.
    pub used: u64,
    /// The contract year.
    pub period: QuotaPeriod,
}

/// Lists the caller's end customers.
///
/// # Errors
/// When the database fails.
pub async fn list(registry: &Registry, caller: &PortalCaller, page: Page) -> Result<Listed> {
    let mut tx = registry.store.begin_reading().await?;
    let (found, total) = customers::list(&mut tx, caller.account.id, caller.environment(), page).await?;
    tx.commit().await.map_err(StoreError::from)?;
    let used = last_uses(registry, caller, &found).await?;
    let customers = found
        .into_iter()
        .map(|customer| {
            let last_used_at = used.get(&customer.id).copied();
            (customer, last_used_at)
        })
        .collect();
    Ok(Listed { customers, total })
}

/// Makes an end customer with its key.
///
/// # Errors
/// When its name is taken or the database fails.
pub async fn create(registry: &Registry, caller: &PortalCaller, name: Name) -> Result<Changed<Found>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let place = (caller.account.id, caller.environment());
    let (customer, key, plain) = create_within(registry, &mut change, place, name).await?;
    let entry = entry(
        "end_customer.created",
        &customer,
        None,
        Some(remembered(&customer)),
    );
    let settled = change.commit(entry, &[Record::Key(key.record(None))]).await?;
    let value = Found {
        customer,
        key: Some(plain),
        last_used_at: None,
    };
    Ok(Changed { value, settled })
}

/// Makes an end customer with its key inside a change.
pub(super) async fn create_within(
    registry: &Registry,
    change: &mut Change<'_>,
    (account, environment): (AccountId, Environment),
    name: Name,
) -> Result<(EndCustomer, ApiKey, PlainKey)> {
    if customers::name_is_taken(&mut change.tx, account, environment, &name).await? {
        return Err(Conflict::NameTaken.into());
    }
    let customer = EndCustomer {
        account,
        environment,
        id: CustomerId::mint(change.now)?,
        name,
        limits: None,
        created_at: change.now,
        updated_at: change.now,
    };
    customers::insert(&mut change.tx, &customer)
        .await
        .map_err(name_taken)?;
    let by = change.actor_id().to_owned();
    let (key, plain) = issue(registry, (&mut change.tx, change.now), &customer, &by).await?;
    Ok((customer, key, plain))
}

/// Finds one of the caller's end customers, with its key in clear.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn find(registry: &Registry, caller: &PortalCaller, id: CustomerId) -> Result<Found> {
    let (account, environment) = (caller.account.id, caller.environment());
    let shown = customers::shown(registry.store.readers(), account, environment, id)
        .await?
        .ok_or(Missing::EndCustomer)?;
    let key = shown.key.as_ref();
    Ok(Found {
        key: key.and_then(|(id, sealed)| registry.open_sealed(*id, sealed.as_deref()?)),
        customer: shown.customer,
        last_used_at: shown.last_used_at,
    })
}

/// Renames an end customer; without a name, or with the one it has, nothing changes.
///
/// # Errors
/// When there is none with this id, the name is taken or the database fails.
pub async fn rename(
    registry: &Registry,
    caller: &PortalCaller,
    id: CustomerId,
    name: Option<Name>,
) -> Result<Changed<Found>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let mut customer = load(&mut change, caller, id).await?;
    // Read now: after the commit nothing may fail any more.
    let last_used_at = last_use(registry, &customer).await?;
    let settled = match name.filter(|name| *name != customer.name) {
        None => change.nothing_to_do().await?,
        Some(name) => {
            let before = remembered(&customer);
            if customers::name_is_taken(&mut change.tx, customer.account, customer.environment, &name).await?
            {
                return Err(Conflict::NameTaken.into());
            }
            customer.name = name;
            customer.updated_at = change.now;
            customers::save(&mut change.tx, &customer)
                .await
                .map_err(name_taken)?;
            let after = remembered(&customer);
            let entry = entry("end_customer.renamed", &customer, Some(before), Some(after));
            change.commit(entry, &[]).await?
        }
    };
    let value = Found {
        customer,
        key: None,
        last_used_at,
    };
    Ok(Changed { value, settled })
}

/// Deletes an end customer and its key, for good.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn delete(registry: &Registry, caller: &PortalCaller, id: CustomerId) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let customer = load(&mut change, caller, id).await?;
    let mut records = Vec::new();
    for mut key in live_keys(&mut change, &customer).await? {
        key.delete(change.now);
        keys::save(&mut change.tx, &key).await?;
        records.push(Record::Key(key.record(customer.limits)));
    }
    let now = change.now;
    customers::bury(&mut change.tx, &customer, now).await?;
    let entry = entry(
        "end_customer.deleted",
        &customer,
        Some(remembered(&customer)),
        None,
    );
    let settled = change.commit(entry, &records).await?;
    Ok(Changed { value: (), settled })
}

/// Gives an end customer a new key. The old one is dead in the same change: no gateway ever has both or neither.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn rotate_key(
    registry: &Registry,
    caller: &PortalCaller,
    id: CustomerId,
) -> Result<Changed<Found>> {
    let mut change = Change::begin(registry, &caller.actor).await?;
    let mut customer = load(&mut change, caller, id).await?;
    let old = live_keys(&mut change, &customer).await?;
    let newest = old.iter().find(|key| key.state == KeyState::Active).cloned();
    let mut records = Vec::new();
    let mut retired = Vec::new();
    for mut key in old {
        key.revoke(change.now);
        keys::save(&mut change.tx, &key).await?;
        records.push(Record::Key(key.record(customer.limits)));
        retired.push(key.id.to_string());
    }
    let (key, plain) = match newest {
        Some(old) => replace(registry, &mut change, &old, &caller.actor.id).await?,
        None => {
            let at = (&mut change.tx, change.now);
            issue(registry, at, &customer, &caller.actor.id).await?
        }
    };
    records.push(Record::Key(key.record(customer.limits)));
    customer.updated_at = change.now;
    customers::save(&mut change.tx, &customer).await?;
    let after = json!({"key_id": key.id.to_string(), "mask": key.mask});
    let entry = entry(
        "end_customer.key_rotated",
        &customer,
        Some(json!({"key_ids": retired})),
        Some(after),
    );
    // Read now: after the commit nothing may fail any more, or the new key would be shown to nobody.
    let last_used_at = last_use(registry, &customer).await?;
    let settled = change.commit(entry, &records).await?;
    let value = Found {
        customer,
        key: Some(plain),
        last_used_at,
    };
    Ok(Changed { value, settled })
}

/// What an end customer used.
///
/// # Errors
/// When there is none with this id or the database fails.
pub async fn used(registry: &Registry, caller: &PortalCaller, id: CustomerId) -> Result<Used> {
    let now = registry.clock.now();
    let (account, environment) = (&caller.account, caller.environment());
    let customer = customers::by_id(registry.store.readers(), account.id, environment, id)
        .await?
        .ok_or(Missing::EndCustomer)?;
    let seen = usage::customer_usage(&registry.store, account.id, environment, id, now).await?;
    let bucket = CustomersBucket {
        account: account.id,
        environment,
        customer: id,
        limits: customer.limits.unwrap_or(account.limits),
        seen: seen.bucket,
    };
    let bucket = live_buckets::of_customer(registry, bucket, now).await;
    let quota = match environment {
        Environment::Test => None,
        Environment::Production => {
            let period = QuotaPeriod::at(now, account.contract.start);
            let AccountUsage { in_period, .. } =
                usage::account_usage(&registry.store, account.id, period, now).await?;
            let granted = grants::granted(registry, account, period).await?;
            Some(Quota {
                limit: account.annual_limit.saturating_add(granted),
                used: in_period,
                period,
            })
        }
    };
    Ok(Used {
        customer,
        usage: seen,
        bucket,
        quota,
        now,
    })
}

/// Makes the first key of an end customer, sealed.
pub(super) async fn issue(
    registry: &Registry,
    (tx, now): (&mut Tx, UnixMillis),
    customer: &EndCustomer,
    by: &str,
) -> Result<(ApiKey, PlainKey)> {
    let minted = registry.mint(KeyKind::Customer, customer.environment)?;
    let draft = Draft {
        plain: &minted.plain,
        digest: minted.digest,
        account: customer.account,
        environment: customer.environment,
        customer: Some(customer.id),
        origin: Origin::Portal,
        api_version: registry.newest_api_version(),
        created_by: by,
    };
    let mut key = draft.issue(now);
    registry.seal_into(&mut key, &minted.plain)?;
    keys::insert(tx, &mut key).await?;
    Ok((key, minted.plain))
}

async fn replace(
    registry: &Registry,
    change: &mut Change<'_>,
    old: &ApiKey,
    by: &str,
) -> Result<(ApiKey, PlainKey)> {
    let minted = registry.mint(KeyKind::Customer, old.environment)?;
    let made = Made { by, at: change.now };
    let mut key = old.replacement(&minted.plain, minted.digest, made);
    registry.seal_into(&mut key, &minted.plain)?;
    keys::insert(&mut change.tx, &mut key).await?;
    Ok((key, minted.plain))
}

async fn load(change: &mut Change<'_>, caller: &PortalCaller, id: CustomerId) -> Result<EndCustomer> {
    let found = customers::load(&mut change.tx, caller.account.id, caller.environment(), id).await?;
    Ok(found.ok_or(Missing::EndCustomer)?)
}

async fn live_keys(change: &mut Change<'_>, customer: &EndCustomer) -> Result<Vec<ApiKey>> {
    let (account, environment) = (customer.account, customer.environment);
    Ok(keys::load_of_customer(&mut change.tx, account, environment, customer.id).await?)
}

async fn last_use(registry: &Registry, customer: &EndCustomer) -> Result<Option<UnixMillis>> {
    let pool = registry.store.readers();
    let ids = keys::ids_of_customer(pool, customer.account, customer.environment, customer.id).await?;
    let used = usage::last_used(&registry.store, &ids).await?;
    Ok(used.into_values().max())
}

async fn last_uses(
    registry: &Registry,
    caller: &PortalCaller,
    listed: &[EndCustomer],
) -> Result<HashMap<CustomerId, UnixMillis>> {
    let ids: Vec<CustomerId> = listed.iter().map(|customer| customer.id).collect();
    let pool = registry.store.readers();
    let owners = keys::ids_of_customers(pool, caller.account.id, caller.environment(), &ids).await?;
    let key_ids: Vec<_> = owners.iter().map(|(key, _)| *key).collect();
    let used = usage::last_used(&registry.store, &key_ids).await?;
    let mut latest = HashMap::new();
    for (key, customer) in owners {
        if let Some(at) = used.get(&key) {
            let entry = latest.entry(customer).or_insert(*at);
            *entry = (*entry).max(*at);
        }
    }
    Ok(latest)
}

fn name_taken(error: StoreError) -> super::Error {
    if error.is_duplicate() {
        Conflict::NameTaken.into()
    } else {
        error.into()
    }
}

fn remembered(customer: &EndCustomer) -> Value {
    json!({"name": customer.name, "environment": customer.environment})
}

fn entry(action: &'static str, customer: &EndCustomer, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        action,
        target: ("end_customer", customer.id.to_string()),
        account: Some(customer.account),
        before,
        after,
    }
}
