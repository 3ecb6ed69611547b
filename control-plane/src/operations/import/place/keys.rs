//! The place of a key: whose it is, whether it is there already under its digest, and whether it may be made.

use keyward_contract::{KeyDigest, KeyState, Record, UnixMillis};

use super::named::named;
use super::{BY, Desk, Placed, Result, Status, Writes};
use crate::domain::key::{ApiKey, ApiVersionPin, Origin};
use crate::domain::refusal::InvalidField;
use crate::operations::import::item::{KeySecret, NewApiKey};
use crate::operations::import::seen::{Owner, Place};
use crate::store::imports::{self, Remains};
use crate::store::keys;

impl Desk<'_> {
    pub(super) async fn key(&mut self, wanted: NewApiKey, reference: Option<&str>) -> Result<Placed> {
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
}

/// Whether a key in this state is the one that its end customer has.
fn is_standing(state: KeyState) -> bool {
    matches!(state, KeyState::Active | KeyState::Disabled)
}
