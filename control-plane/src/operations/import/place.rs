//! Finding the place of each line: what it refers to, whether it is there already, whether it may be made; then making
//! it. Every check of a line comes before its first write.

use keyward_contract::{
    AccountId, CustomerId, Environment, EnvironmentId, KeyDigest, KeyKind, KeyState, Record, UnixMillis,
    UserId,
};
use uuid::Uuid;

use super::item::{Item, KeySecret, NewAccount, NewApiKey, NewEndCustomer, NewUser};
use super::seen::{Owner, Place, Seen};
use super::{Result, Status};
use crate::domain::account::{Account, EnvironmentSettings, Environments, check_contract};
use crate::domain::customer::{EndCustomer, SANDBOX_ID, SANDBOX_NAME};
use crate::domain::key::{ApiKey, ApiVersionPin, Draft, Origin};
use crate::domain::refusal::{Conflict, InvalidField};
use crate::domain::text::Name;
use crate::domain::user::User;
use crate::operations::Registry;
use crate::store::imports::{self, Reference, Remains};
use crate::store::{StoreError, Tx, accounts, customers, keys, policies};

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
                    self.seed_sandbox(&account).await?;
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

    async fn seed_sandbox(&mut self, account: &Account) -> Result<()> {
        let sandbox = EndCustomer {
            account: account.id,
            environment: Environment::Test,
            id: SANDBOX_ID.parse().map_err(StoreError::corrupt)?,
            name: Name::from_stored(SANDBOX_NAME.to_owned()),
            limits: None,
            created_at: self.now,
            updated_at: self.now,
        };
        customers::insert(self.tx, &sandbox).await?;
        let minted = self.registry.mint(KeyKind::Customer, Environment::Test)?;
        let draft = Draft {
            plain: &minted.plain,
            digest: minted.digest,
            account: account.id,
            environment: Environment::Test,
            customer: Some(sandbox.id),
            origin: Origin::Portal,
            api_version: self.registry.newest_api_version(),
            created_by: BY,
        };
        let mut key = draft.issue(self.now);
        self.registry.seal_into(&mut key, &minted.plain)?;
        keys::insert(self.tx, &mut key).await?;
        self.records.push(Record::Key(key.record(None)));
        Ok(())
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

    async fn key(&mut self, wanted: NewApiKey, reference: Option<&str>) -> Result<Placed> {
        let account = self.account_named(&wanted.customer).await?;
        let place = (account, wanted.environment);
        let reference = reference.map(|name| named("api_key", account.to_string(), name));
        if let Some(there) = self.there(reference.as_ref()).await? {
            return Ok((Status::Exists, Some(there)));
        }
        let customer = match &wanted.end_customer {
            Some(name) => Some(self.end_customer_named(place, name).await?),
            None => None,
        };
        let user = match &wanted.user {
            Some(name) => Some(self.user_named(account, name).await?),
            None => None,
        };
        let digest = match &wanted.secret {
            KeySecret::Raw(plain) => self.registry.digest(plain.expose()),
            KeySecret::Digest(..) if self.foreign_digests => {
                let reason = "was made under another installation's digest key";
                return Err(InvalidField::new("digest", reason).into());
            }
            KeySecret::Digest(digest, _) => *digest,
        };
        let owner = (account, customer.map(|customer| customer.id));
        if let Some(there) = self.digest_is_there(digest, owner).await? {
            return Ok((Status::Exists, Some(there)));
        }
        self.may_be_made(&wanted, place, customer).await?;
        let mut key = self.made_key(&wanted, digest, owner)?;
        key.user = user;
        if let KeySecret::Raw(plain) = &wanted.secret
            && matches!(key.origin, Origin::Portal | Origin::Keys)
        {
            self.registry.seal_into(&mut key, plain)?;
        }
        let id = key.id.to_string();
        let keyed = customer.filter(|_| is_standing(key.state));
        match self.writes {
            Writes::Made => {
                keys::insert(self.tx, &mut key).await?;
                let limits = customer.and_then(|customer| customer.limits);
                self.records.push(Record::Key(key.record(limits)));
            }
            Writes::Imagined => {
                self.seen.digests.insert(digest, (owner, id.clone()));
                self.seen.key_ids.insert(id.clone());
                self.seen
                    .keyed
                    .extend(keyed.map(|customer| (place, customer.id.to_string())));
            }
        }
        self.remember(reference, &id).await?;
        Ok((Status::Created, Some(id)))
    }

    async fn digest_is_there(&mut self, digest: KeyDigest, owner: Owner) -> Result<Option<String>> {
        let there = match self.seen.digests.get(&digest) {
            Some(there) => Some(there.clone()),
            None => keys::load_by_digest(self.tx, digest)
                .await?
                .map(|key| ((key.account, key.customer), key.id.to_string())),
        };
        match there {
            Some((there, id)) if there == owner => Ok(Some(id)),
            Some(_) => Err(InvalidField::new("key", "belongs to somebody else here already").into()),
            None => Ok(None),
        }
    }

    async fn may_be_made(
        &mut self,
        wanted: &NewApiKey,
        place: Place,
        customer: Option<Remains>,
    ) -> Result<()> {
        if let Some(id) = wanted.id
            && (self.seen.key_ids.contains(&id.to_string()) || imports::key_id_is_taken(self.tx, id).await?)
        {
            return Err(InvalidField::new("id", "is another key's").into());
        }
        let versions = &self.registry.rules.api_versions;
        if let Some(version) = &wanted.api_version
            && !versions.contains(version)
        {
            let reason = format!("must be one of {}", versions.join(", "));
            return Err(InvalidField::new("api_version", reason).into());
        }
        let Some(customer) = customer.filter(|_| is_standing(wanted.state)) else {
            return Ok(());
        };
        if customer.deleted {
            return Err(InvalidField::new("end_customer", "is deleted: its keys are too").into());
        }
        let (account, environment) = place;
        let keyed = self.seen.keyed.contains(&(place, customer.id.to_string()))
            || !keys::load_of_customer(self.tx, account, environment, customer.id)
                .await?
                .is_empty();
        if keyed {
            return Err(InvalidField::new("end_customer", "has a key already, and can have only one").into());
        }
        Ok(())
    }

    fn made_key(&self, wanted: &NewApiKey, digest: KeyDigest, (account, customer): Owner) -> Result<ApiKey> {
        let created_at = wanted.common.created_at.unwrap_or(self.now);
        let dead_since = |at: Option<UnixMillis>, states: &[KeyState]| {
            states.contains(&wanted.state).then(|| at.unwrap_or(self.now))
        };
        let version = wanted.api_version.as_deref();
        Ok(ApiKey {
            id: wanted.id.unwrap_or_default(),
            number: 0,
            account,
            environment: wanted.environment,
            customer,
            user: None,
            origin: wanted.origin,
            name: wanted.name.clone(),
            mask: match &wanted.secret {
                KeySecret::Raw(plain) => plain.mask(),
                KeySecret::Digest(_, mask) => mask.clone(),
            },
            digest,
            sealed: None,
            state: wanted.state,
            expires_at: wanted.expires_at,
            allowed_ips: wanted.allowed_ips.clone(),
            api_version: ApiVersionPin {
                version: version
                    .unwrap_or_else(|| self.registry.newest_api_version())
                    .to_owned(),
                changed_at: wanted.api_version_changed_at.unwrap_or(created_at),
                no_downgrade_after: wanted.no_downgrade_after,
            },
            rotated_at: wanted.rotated_at,
            held_at: wanted.held_at.filter(|_| wanted.state == KeyState::Disabled),
            created_by: wanted.created_by.clone().unwrap_or_else(|| BY.to_owned()),
            created_at,
            updated_at: wanted.common.updated_at.unwrap_or(created_at),
            revoked_at: dead_since(wanted.revoked_at, &[KeyState::Revoked, KeyState::Deleted]),
            deleted_at: dead_since(wanted.common.deleted_at, &[KeyState::Deleted]),
        })
    }

    async fn account_named(&mut self, name: &str) -> Result<AccountId> {
        let reference = named("customer", String::new(), name);
        if let Some(id) = self.there(Some(&reference)).await? {
            return Ok(id.parse().map_err(StoreError::corrupt)?);
        }
        if let Ok(id) = name.parse::<AccountId>()
            && self.account_is_there(id).await?
        {
            return Ok(id);
        }
        let reason = "is neither the ref of a customer on an earlier line nor the id of one that is here";
        Err(InvalidField::new("customer", reason).into())
    }

    async fn end_customer_named(&mut self, place: Place, name: &str) -> Result<Remains> {
        let reference = named("end_customer", scope(place), name);
        let id = match self.there(Some(&reference)).await? {
            Some(id) => Some(id.parse::<CustomerId>().map_err(StoreError::corrupt)?),
            None => name.parse().ok(),
        };
        let found = match id {
            Some(id) => self.remains(place, id).await?,
            None => None,
        };
        let reason = "is neither the ref of an end customer on an earlier line, of this customer and environment, nor \
                      the id of one that is here";
        Ok(found.ok_or_else(|| InvalidField::new("end_customer", reason))?)
    }

    async fn user_named(&mut self, account: AccountId, name: &str) -> Result<UserId> {
        let reference = named("user", account.to_string(), name);
        let id = match self.there(Some(&reference)).await? {
            Some(id) => Some(id.parse::<UserId>().map_err(StoreError::corrupt)?),
            None => name.parse().ok(),
        };
        let found = match id {
            Some(id) => self
                .account_of_user(id)
                .await?
                .filter(|owner| *owner == account)
                .map(|_| id),
            None => None,
        };
        let reason = "is neither the ref of a user on an earlier line, of this customer, nor the id of one that is here";
        Ok(found.ok_or_else(|| InvalidField::new("user", reason))?)
    }

    async fn account_is_there(&mut self, id: AccountId) -> Result<bool> {
        Ok(self.seen.accounts.contains(&id.to_string()) || accounts::load(self.tx, id).await?.is_some())
    }

    async fn account_of_user(&mut self, id: UserId) -> Result<Option<AccountId>> {
        match self.seen.users.get(&id.to_string()) {
            Some(account) => Ok(Some(*account)),
            None => Ok(imports::account_of_user(self.tx, id).await?),
        }
    }

    async fn remains(&mut self, place: Place, id: CustomerId) -> Result<Option<Remains>> {
        match self.seen.end_customers.get(&(place, id.to_string())) {
            Some(remains) => Ok(Some(*remains)),
            None => Ok(imports::end_customer(self.tx, place.0, place.1, id).await?),
        }
    }

    async fn there(&mut self, reference: Option<&Reference>) -> Result<Option<String>> {
        let Some(reference) = reference else {
            return Ok(None);
        };
        match self.seen.references.get(reference) {
            Some(id) => Ok(Some(id.clone())),
            None => Ok(imports::named(self.tx, reference).await?),
        }
    }

    async fn remember(&mut self, reference: Option<Reference>, id: &str) -> Result<()> {
        let Some(reference) = reference else {
            return Ok(());
        };
        match self.writes {
            Writes::Made => imports::remember(self.tx, &reference, id, self.now).await?,
            Writes::Imagined => {
                self.seen.references.insert(reference, id.to_owned());
            }
        }
        Ok(())
    }
}

fn named(kind: &'static str, scope: String, name: &str) -> Reference {
    Reference {
        kind,
        scope,
        name: name.to_owned(),
    }
}

fn scope((account, environment): Place) -> String {
    format!("{account} {environment}")
}

/// Whether a key in this state is the one that its end customer has.
fn is_standing(state: KeyState) -> bool {
    matches!(state, KeyState::Active | KeyState::Disabled)
}
