//! What a line refers to: by the ref of an earlier line, in this run or one before, or by our own id.

use keyward_contract::{AccountId, CustomerId, UserId};

use super::{Desk, Result, Writes};
use crate::domain::refusal::InvalidField;
use crate::operations::import::seen::Place;
use crate::store::imports::{self, Reference, Remains};
use crate::store::{StoreError, accounts};

impl Desk<'_> {
    pub(super) async fn account_named(&mut self, name: &str) -> Result<AccountId> {
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

    pub(super) async fn end_customer_named(&mut self, place: Place, name: &str) -> Result<Remains> {
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

    pub(super) async fn user_named(&mut self, account: AccountId, name: &str) -> Result<UserId> {
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

    pub(super) async fn account_is_there(&mut self, id: AccountId) -> Result<bool> {
        Ok(self.seen.accounts.contains(&id.to_string()) || accounts::load(self.tx, id).await?.is_some())
    }

    pub(super) async fn account_of_user(&mut self, id: UserId) -> Result<Option<AccountId>> {
        match self.seen.users.get(&id.to_string()) {
            Some(account) => Ok(Some(*account)),
            None => Ok(imports::account_of_user(self.tx, id).await?),
        }
    }

    pub(super) async fn remains(&mut self, place: Place, id: CustomerId) -> Result<Option<Remains>> {
        match self.seen.end_customers.get(&(place, id.to_string())) {
            Some(remains) => Ok(Some(*remains)),
            None => Ok(imports::end_customer(self.tx, place.0, place.1, id).await?),
        }
    }

    pub(super) async fn there(&mut self, reference: Option<&Reference>) -> Result<Option<String>> {
        let Some(reference) = reference else {
            return Ok(None);
        };
        match self.seen.references.get(reference) {
            Some(id) => Ok(Some(id.clone())),
            None => Ok(imports::named(self.tx, reference).await?),
        }
    }

    pub(super) async fn remember(&mut self, reference: Option<Reference>, id: &str) -> Result<()> {
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

pub(super) fn named(kind: &'static str, scope: String, name: &str) -> Reference {
    Reference {
        kind,
        scope,
        name: name.to_owned(),
    }
}

pub(super) fn scope((account, environment): Place) -> String {
    format!("{account} {environment}")
}
