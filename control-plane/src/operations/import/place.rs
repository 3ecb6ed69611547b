//! Finding the place of each line: what it refers to, whether it is there already, whether it may be made; then making
//! it. Every check of a line comes before its first write.

use keyward_contract::{CustomerId, EnvironmentId, Record, UnixMillis};
use uuid::Uuid;

use super::item::{Item, NewAccount, NewEndCustomer, NewUser};
use super::seen::Seen;
use super::{Result, Status};
use crate::domain::account::{Account, EnvironmentSettings, Environments, check_contract};
use crate::domain::customer::EndCustomer;
use crate::domain::refusal::{Conflict, InvalidField};
use crate::domain::user::User;
use crate::operations::{self, Registry};
use crate::store::imports::{self, Remains};
use crate::store::{Tx, accounts, customers, policies};

mod keys;
mod named;

use named::{named, scope};

const BY: &str = "import";

/// Whether what is placed is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// Into the transaction.
    Made,
    /// Into memory alone.
    Imagined,
}

/// Where the lines of a batch are taken.
pub(super) struct Desk<'a> {
    pub(super) registry: &'a Registry,
    pub(super) now: UnixMillis,
    pub(super) tx: &'a mut Tx,
    pub(super) seen: &'a mut Seen,
    pub(super) writes: Writes,
    pub(super) foreign_digests: bool,
    pub(super) records: Vec<Record>,
}

/// What became of a line, and our own id.
type Placed = (Status, Option<String>);

impl Desk<'_> {
    pub(super) async fn place(&mut self, item: Item, reference: Option<&str>) -> Result<Placed> {
        match item {
            Item::Head { .. } => Ok((Status::Exists, None)),
            Item::Tier {
                key,
                annual_limit,
                rate_limit,
                burst_limit,
            } => self.tier(&key, [annual_limit, rate_limit, burst_limit]),
            Item::Account(wanted) => self.account(*wanted, reference).await,
            Item::User(wanted) => self.user(*wanted, reference).await,
            Item::EndCustomer(wanted) => self.end_customer(*wanted, reference).await,
            Item::ApiKey(wanted) => self.key(*wanted, reference).await,
        }
    }

    fn tier(&self, key: &str, numbers: [Option<u64>; 3]) -> Result<Placed> {
        let tier = self.registry.catalogue.tier(key).ok_or_else(|| {
            InvalidField::new(
                "tier",
                "is not in the catalogue: add it to `tiers` in the configuration",
            )
        })?;
        let ours = [
            ("annual_limit", tier.annual_limit),
            ("rate_limit", u64::from(tier.rate_limit)),
            ("burst_limit", u64::from(tier.burst_limit)),
        ];
        for ((field, ours), theirs) in ours.into_iter().zip(numbers) {
            if theirs.is_some_and(|theirs| theirs != ours) {
                let reason = format!("is {ours} in the catalogue: accounts on this tier get that");
                return Err(InvalidField::new(field, reason).into());
            }
        }
        Ok((Status::Exists, Some(tier.key.clone())))
    }

    async fn account(&mut self, wanted: NewAccount, reference: Option<&str>) -> Result<Placed> {
        let reference = reference.map(|name| named("customer", String::new(), name));
        if let Some(there) = self.there(reference.as_ref()).await? {
            return Ok((Status::Exists, Some(there)));
        }
        if let Some(id) = wanted.id
            && self.account_is_there(id).await?
        {
            return Ok((Status::Exists, Some(id.to_string())));
        }
        let sandbox = wanted.sandbox;
        let account = self.made_account(wanted).await?;
        let id = account.id.to_string();
        match self.writes {
            Writes::Made => {
                accounts::insert(self.tx, &account).await?;
                // New, so nothing was granted to it.
                let policy = policies::of(&mut **self.tx, &account.tier).await?.policy;
                self.records
                    .push(Record::Account(account.record(policy, Vec::new())));
                if sandbox {
                    let at = (&mut *self.tx, self.now);
                    let key = operations::accounts::seed_sandbox(self.registry, at, account.id, BY).await?;
                    self.records.push(Record::Key(key.record(None)));
                }
            }
            Writes::Imagined => {
                self.seen.accounts.insert(id.clone());
            }
        }
        self.remember(reference, &id).await?;
        Ok((Status::Created, Some(id)))
    }

    async fn made_account(&mut self, wanted: NewAccount) -> Result<Account> {
        let terms = self
            .registry
            .catalogue
            .terms(&wanted.tier, wanted.overrides.as_ref())?;
        let contract = check_contract(wanted.contract)?;
        let [test, production] = wanted.environments;
        let environments = Environments {
            test: self.environment("test_environment_id", test).await?,
            production: self.environment("production_environment_id", production).await?,
        };
        if environments.test.id == environments.production.id {
            return Err(InvalidField::new("test_environment_id", "is production's too").into());
        }
        let created_at = wanted.common.created_at.unwrap_or(self.now);
        Ok(Account {
            id: wanted.id.unwrap_or_default(),
            company_name: wanted.company_name,
            contact_email: wanted.contact_email,
            tier: wanted.tier,
            status: wanted.status,
            contract,
            overrides: wanted.overrides,
            metadata: wanted.metadata,
            limits: terms.limits,
            annual_limit: terms.annual_limit,
            environments,
            created_at,
            updated_at: wanted.common.updated_at.unwrap_or(created_at),
        })
    }

    async fn environment(
        &mut self,
        field: &'static str,
        (id, user_key_limit): (Option<EnvironmentId>, Option<u32>),
    ) -> Result<EnvironmentSettings> {
        let fresh = EnvironmentSettings::random()?;
        if let Some(id) = id
            && imports::environment_is_taken(self.tx, id).await?
        {
            return Err(InvalidField::new(field, "is another account's").into());
        }
        Ok(EnvironmentSettings {
            id: id.unwrap_or(fresh.id),
            user_key_limit: user_key_limit.unwrap_or(fresh.user_key_limit),
        })
    }

    async fn user(&mut self, wanted: NewUser, reference: Option<&str>) -> Result<Placed> {
        let account = self.account_named(&wanted.customer).await?;
        let reference = reference.map(|name| named("user", account.to_string(), name));
        if let Some(there) = self.there(reference.as_ref()).await? {
            return Ok((Status::Exists, Some(there)));
        }
        if let Some(id) = wanted.id {
            match self.account_of_user(id).await? {
                Some(owner) if owner == account => return Ok((Status::Exists, Some(id.to_string()))),
                Some(_) => return Err(InvalidField::new("id", "is another customer's user").into()),
                None => {}
            }
        }
        if let Some(sub) = wanted.sub
            && (self.seen.subs.contains(&sub) || imports::sub_is_taken(self.tx, sub).await?)
        {
            return Err(InvalidField::new("sub", "is another user's").into());
        }
        let created_at = wanted.common.created_at.unwrap_or(self.now);
        let user = User {
            id: wanted.id.unwrap_or_default(),
            account,
            sub: wanted.sub.unwrap_or_else(Uuid::new_v4),
            name: wanted.name,
            email: wanted.email,
            claims: wanted.claims,
            permissions: wanted.permissions,
            created_at,
            updated_at: wanted.common.updated_at.unwrap_or(created_at),
        };
        let id = user.id.to_string();
        match self.writes {
            Writes::Made => imports::insert_user(self.tx, &user, wanted.common.deleted_at).await?,
            Writes::Imagined => {
                self.seen.subs.insert(user.sub);
                self.seen.users.insert(id.clone(), account);
            }
        }
        self.remember(reference, &id).await?;
        Ok((Status::Created, Some(id)))
    }

    async fn end_customer(&mut self, wanted: NewEndCustomer, reference: Option<&str>) -> Result<Placed> {
        let account = self.account_named(&wanted.customer).await?;
        let place = (account, wanted.environment);
        let reference = reference.map(|name| named("end_customer", scope(place), name));
        if let Some(there) = self.there(reference.as_ref()).await? {
            return Ok((Status::Exists, Some(there)));
        }
        if let Some(id) = wanted.id
            && self.remains(place, id).await?.is_some()
        {
            return Ok((Status::Exists, Some(id.to_string())));
        }
        let deleted_at = wanted.common.deleted_at;
        let name = (place, wanted.name.as_str().to_owned());
        if deleted_at.is_none()
            && (self.seen.names.contains(&name)
                || customers::name_is_taken(self.tx, account, wanted.environment, &wanted.name).await?)
        {
            return Err(Conflict::NameTaken.into());
        }
        let created_at = wanted.common.created_at.unwrap_or(self.now);
        let customer = EndCustomer {
            account,
            environment: wanted.environment,
            id: match wanted.id {
                Some(id) => id,
                None => CustomerId::mint(self.now)?,
            },
            name: wanted.name,
            limits: wanted.limits,
            created_at,
            updated_at: wanted.common.updated_at.unwrap_or(created_at),
        };
        let id = customer.id.to_string();
        match self.writes {
            Writes::Made => imports::insert_end_customer(self.tx, &customer, deleted_at).await?,
            Writes::Imagined => {
                let remains = Remains {
                    id: customer.id,
                    deleted: deleted_at.is_some(),
                    limits: customer.limits,
                };
                self.seen.end_customers.insert((place, id.clone()), remains);
                if deleted_at.is_none() {
                    self.seen.names.insert(name);
                }
            }
        }
        self.remember(reference, &id).await?;
        Ok((Status::Created, Some(id)))
    }
}
